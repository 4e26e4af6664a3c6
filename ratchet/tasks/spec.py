"""What a task is, as its file says it (`configs/tasks/<task>.yaml`). Pure data: importing this loads no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class FeatureSpec(BaseModel):
    """The inputs of one example: a flat list of numbers in the label shard and in a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_features: int = Field(gt=0)
    min_value: float
    max_value: float


class TrainingSpec(BaseModel):
    """How a challenger is trained. World size and threads are part of the identity: they change the last bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Literal["champion", "scratch"] = "champion"
    """champion: from those of the champion's weights that fit (ratchet/training/takeover.py). scratch: from none."""
    num_epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    """Global: shared by all workers."""
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    world_size: int = Field(2, ge=1)
    """Number of DDP workers."""
    num_threads: int = Field(1, ge=1)
    """Torch threads of each worker."""
    seed: int = 0
    timeout_s: float = Field(1800, gt=0)


class TaskSpec(BaseModel):
    """A task file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")
    implementation: str = Field(pattern=r"^[\w.]+:\w+$")
    """`module:class` of the `ratchet.tasks.interface.Task`; it must be importable in the images."""
    classes: tuple[str, ...] = Field(min_length=2)
    features: FeatureSpec
    training: TrainingSpec
    policies: dict[str, str] = Field(default_factory=dict)
    """Policy name to file in `configs/policies/`, where it is not `<name>.yaml`: {"rollout": "rollout-fast.yaml"}."""

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        """A class is known by its name alone: in labels, answers, and when a model takes over another's weights."""
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice or "" in classes:
            raise ValueError(
                f"each class needs a name of its own; twice: {', '.join(twice) or 'none'}, empty: {'' in classes}"
            )
        return classes
