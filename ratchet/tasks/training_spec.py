"""`training:` of a task file. Pure data: importing this loads no torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ratchet.core.models.class_weights import ClassWeights
from ratchet.core.models.compiling import Compile
from ratchet.core.models.device import Precision
from ratchet.core.models.learning_rate import Schedule
from ratchet.core.models.search import SearchSpec


def left_out(default: Any, **limits: Any) -> Any:
    """A field that is not written where it has its default: a task file that says nothing of it keeps the digest that
    it had before there was such a field, and so do its models and checkpoints."""
    return Field(default, exclude_if=lambda value: value == default, **limits)


class CommunicationSpec(BaseModel):
    """How the gradients of several workers meet. `ratchet bench comm` measures what a machine makes of each choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    compress: Literal["none", "bf16", "fp16", "powersgd"] = "none"
    """What travels. bf16, fp16: gradients in 16 bits. powersgd: two thin matrices for each (Vogels et al., 2019)."""
    bucket_mb: float | None = Field(None, gt=0, le=4_096)
    """MiB of gradients that travel together. None: torch's 25, and 1 for the first."""
    static_graph: bool = False
    """That each batch uses the same layers: DDP then looks once which ones, and not at each step."""

    @property
    def text(self) -> str:
        """What is chosen, as a task file says it; "" of the defaults."""
        chosen = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name}: {str(value).lower()}" for name, value in chosen.items())


_CHOSEN_BY_AUTO = ("world_size", "num_threads", "communication", "compile")


class TrainingSpec(BaseModel):
    """How a challenger is trained. World size and threads are part of the identity: they change the last bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auto: bool = left_out(False)
    """`world_size`, `num_threads`, `communication` and `compile` are chosen by measuring steps before the training."""
    start: Literal["champion", "scratch"] = "champion"
    """champion: from those of the champion's weights that fit (ratchet/training/takeover.py). scratch: from none."""
    replay_share: Annotated[float, Field(ge=0, le=1)] | Literal["all"] = left_out("all")
    """Share of the older rows that are trained beside those that are new since the champion's dataset version, of each
    class alike. all: every row of the version."""
    num_epochs: int = Field(10, gt=0, le=100_000)
    batch_size: int = Field(64, gt=0, le=1_000_000)
    """Global: shared by all workers."""
    learning_rate: float = Field(0.001, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    schedule: Schedule = "constant"
    """cosine: the learning rate falls to nearly 0 over the training."""
    warmup_share: float = Field(0.0, ge=0, le=0.5)
    """Share of all steps over which the learning rate rises to its value."""
    clip_norm: float | None = Field(None, gt=0, allow_inf_nan=False)
    """A gradient with a greater norm is scaled down to it. None: never."""
    class_weights: ClassWeights = left_out("none")
    """How much a row of each class counts in the loss, where classes are rare. balanced: each class as much as any
    other. {class: weight}: those that are not named count 1. Divided by their mean over the training rows."""
    label_smoothing: float = left_out(0.0, ge=0, lt=1)
    """Share of a label's probability that the loss spreads over all classes (Szegedy et al., 2016)."""
    calibrate: Literal["none", "temperature"] = left_out("none")
    """temperature: one number by the validation rows, which makes the model's probabilities as often right as they say
    (ratchet/core/models/temperature.py)."""
    accumulate: int = Field(1, ge=1, le=1024)
    """Parts that a worker takes its rows of a batch in, one after the other: memory of one, the same gradient."""
    early_stop_epochs: int | None = Field(None, gt=0, le=100_000)
    """The training ends after so many epochs in a row without a lower validation loss. None: after `num_epochs`."""
    freeze: tuple[str, ...] = ()
    """Parameters that stay as they start, by name, with * and ?: "encoder.*"."""
    unfreeze_after: int | None = Field(None, gt=0, le=100_000)
    """Epochs after which the frozen parameters are trained too. None: never."""
    ema_decay: float | None = Field(None, gt=0, lt=1)
    """The model is an exponential moving average of the weights after each step, as 0.999. None: the weights."""
    precision: Precision = "fp32"
    """bf16: products of matrices in bfloat16 (autocast); weights, loss and what is served stay in float32. tf32: on a
    GPU they round their factors to 10 bits; a CPU computes as with fp32."""
    world_size: int = Field(2, ge=1, le=4_096)
    """Number of DDP workers."""
    num_nodes: int = left_out(1, ge=1, le=1_024)
    """Machines that the workers are spread over, by a TrainJob of Kubeflow Trainer. 1: the pod of the step."""
    num_threads: int = Field(1, ge=1, le=4_096)
    """Torch threads of each worker."""
    communication: CommunicationSpec = left_out(CommunicationSpec())
    compile: Compile = left_out("off")
    """on: the network's passes go through torch.compile. graph: and are replayed as CUDA graphs. auto: measured before
    the training, where that is long enough to pay for it."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """What every library takes; LightGBM has 32 bits with a sign."""
    checkpoint_every_s: float | None = left_out(60.0, gt=0, le=2_592_000)
    """Seconds after which a checkpoint is made within an epoch; one is made after each epoch in any case."""
    checkpoint_every_steps: int | None = left_out(None, gt=0, le=1_000_000_000)
    """Steps of the whole training after which one is made too."""
    timeout_s: float = Field(1800, gt=0, le=2_592_000)
    search: SearchSpec | None = left_out(None)
    """Trainings with other numbers than those above; the model is that of the best one, and says none of it."""

    @field_validator("compile", mode="before")
    @classmethod
    def _read_as_yaml_does(cls, value: Any) -> Any:
        """YAML 1.1 takes a bare `on` for true and a bare `off` for false."""
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value

    @property
    def weighting(self) -> tuple[str, ...]:
        """Fields that the loss has to know of, as far as they ask for something."""
        asked = {"class_weights": self.class_weights != "none", "label_smoothing": self.label_smoothing > 0}
        return tuple(name for name, is_asked in asked.items() if is_asked)

    @model_validator(mode="after")
    def _check_auto(self) -> Self:
        # Compared with the defaults and not with what was given: a spec is written with all its fields.
        fields = type(self).model_fields
        given = [name for name in _CHOSEN_BY_AUTO if self.auto and getattr(self, name) != fields[name].default]
        if given:
            raise ValueError(f"`auto` chooses `{given[0]}`; leave one of the two out")
        if self.auto and self.num_nodes > 1:
            raise ValueError("`auto` measures one machine; leave `num_nodes` out, or say `world_size` yourself")
        if self.compile == "auto" and self.num_nodes > 1:
            raise ValueError("`compile: auto` measures one machine; with `num_nodes` say on or off")
        return self

    @property
    def is_measured_first(self) -> bool:
        """Whether anything is chosen by measuring steps."""
        return self.auto or self.compile == "auto"

    @model_validator(mode="after")
    def _check_nodes(self) -> Self:
        if self.world_size % self.num_nodes:
            raise ValueError(
                f"`world_size` {self.world_size} over `num_nodes` {self.num_nodes}: each node has as many workers; "
                "make world_size a multiple of num_nodes"
            )
        return self

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        """Each end and each choice is one that the field takes."""
        if self.search is None:
            return self
        if self.num_nodes > 1:
            raise ValueError(f"`search` with `num_nodes` {self.num_nodes}: a search runs on one machine; leave one out")
        if self.is_measured_first:
            raise ValueError("`search` with `auto`: what is measured may differ from trial to trial; leave one out")
        given = {**self.model_dump(mode="json"), "search": None}
        for name, value in self.search.ends:
            try:
                type(self).model_validate({**given, name: value})
            except ValidationError as error:
                raise ValueError(f"`search.space.{name}` holds {value!r}: {error.errors()[0]['msg']}") from None
        return self

    @model_validator(mode="after")
    def _check_freeze(self) -> Self:
        if self.unfreeze_after is not None and not self.freeze:
            raise ValueError("`unfreeze_after` without `freeze`; name the parameters to freeze, or leave it out")
        return self
