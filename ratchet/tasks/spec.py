"""What a task is, as its file says it (`configs/tasks/<task>.yaml`). Pure data: importing this loads no torch."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ratchet.core.fresh_copy import FreshCopy
from ratchet.core.labels.schema import ExampleSchema, InputSpec, OutputSpec, check_names
from ratchet.core.models.invariance_names import INPUT_TYPE_OF, Invariance
from ratchet.core.models.metric_names import METRICS_OF, Metric
from ratchet.tasks.kinds.options import INPUTS_OF, ONE_INPUT, class_of, options_of, training_of
from ratchet.tasks.training_spec import TrainingSpec, left_out

Kind = Literal["tabular", "trees", "text", "image", "vector"]
"""Ready-made kinds of models; any other is a class of the user's own, `module:Class`."""
Learner = Literal["torch", "trees"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_OWN_CLASS = r"^[\w.]+:\w+$"
_OLD_FIELDS = frozenset({"implementation", "classes", "features"})


class FeatureSpec(BaseModel):
    """The old form of a single vector input: a flat list of numbers in the label shard and in a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_features: int = Field(gt=0)
    min_value: float
    max_value: float


class ModelSpec(BaseModel):
    """Which kind of model, and its options (`ratchet/tasks/kinds`)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    @field_validator("kind")
    @classmethod
    def _check_kind(cls, kind: str) -> str:
        if kind not in KINDS and not re.fullmatch(_OWN_CLASS, kind):
            raise ValueError(f"{kind!r} is neither one of {', '.join(KINDS)} nor a class of your own, `module:Class`")
        return kind

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        """A class of one's own reads whatever it likes. pydantic takes over the places in a ValidationError."""
        if (expected := options_of(self.kind, self.options)) is not None:
            expected.model_validate(self.options)
        return self

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def is_own(self) -> bool:
        """Whether it is a class of the user's."""
        return ":" in self.kind

    @property
    def learner(self) -> Learner:
        """What turns rows into it."""
        return "trees" if self.kind == "trees" else "torch"


class _OldForm(BaseModel):
    """The part of a task file that was written before inputs had types."""

    model_config = ConfigDict(frozen=True)

    implementation: str = Field(pattern=_OWN_CLASS)
    classes: tuple[str, ...] = Field(min_length=2)
    features: FeatureSpec

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return check_names(classes, what="class")

    def as_new(self) -> dict[str, Any]:
        vector = {
            "name": "features",
            "type": "vector",
            "size": self.features.num_features,
            "min": self.features.min_value,
            "max": self.features.max_value,
        }
        return {
            "inputs": [vector],
            "output": {"type": "category", "classes": self.classes},
            "model": {"kind": self.implementation},
        }


def _error_at(place: tuple[str, ...], text: str, found: Any) -> ValidationError:
    """An error of a field of the whole file, with its place: pydantic takes it over."""
    details = InitErrorDetails(
        type=PydanticCustomError("value_error", "{text}", {"text": text}), loc=place, input=found
    )
    return ValidationError.from_exception_data("TaskSpec", [details])


class TaskSpec(FreshCopy):
    """A task file.

    One that was written before inputs had types names `implementation`, `classes` and `features` in the place of
    `model`, `output` and `inputs`: it is read as the same task with a vector called `features` as its only input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")
    inputs: tuple[InputSpec, ...]
    output: OutputSpec
    model: ModelSpec
    metric: Metric | None = None
    """What the gate compares; None: the first of `METRICS_OF` the output's type."""
    training: TrainingSpec = TrainingSpec()
    invariant_to: tuple[Invariance, ...] = left_out(())
    """Changes of all text or image inputs that must not change the answer; the gate tries each on the test rows."""
    reviewers: tuple[str, ...] = ()
    """Labelers whose newest word on an example stands against an accepted label, and who are not judged by it."""
    policies: dict[str, str] = Field(default_factory=dict)
    """Policy name to file in `configs/policies/`, where it is not `<name>.yaml`: {"rollout": "rollout-fast.yaml"}."""

    @model_validator(mode="before")
    @classmethod
    def _take_old_form(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not _OLD_FIELDS & value.keys() or {"inputs", "output"} & value.keys():
            return value
        old = _OldForm.model_validate({name: value[name] for name in _OLD_FIELDS & value.keys()})
        return {**{name: value[name] for name in value.keys() - _OLD_FIELDS}, **old.as_new()}

    @model_validator(mode="before")
    @classmethod
    def _fill_training(cls, value: Any) -> Any:
        """What `training` leaves out is the kind's."""
        model = value.get("model") if isinstance(value, Mapping) else None
        options = model.model_dump() if isinstance(model, ModelSpec) else model
        given = value.get("training", {}) if isinstance(value, Mapping) else None
        if given == "auto":
            given = {"auto": True}
            value = {**value, "training": given}
        if not isinstance(options, Mapping) or not isinstance(given, Mapping):
            return value
        kind = options.get("kind")
        defaults = training_of(kind, options) if isinstance(kind, str) else {}
        return {**value, "training": {**defaults, **given}} if defaults else value

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        self.examples  # noqa: B018 - raises what is wrong with the inputs together
        if self.output.name in {each.name for each in self.inputs}:
            text = f"an input and the output are both named {self.output.name!r}; rename one of them"
            raise _error_at(("output", "name"), text, self.output.name)
        allowed = METRICS_OF[self.output.type]
        if self.metric is not None and self.metric not in allowed:
            raise ValueError(
                f"`metric` {self.metric!r} does not fit an output of type {self.output.type}; it takes one of "
                f"{', '.join(allowed)}"
            )
        self._check_kind_takes_inputs()
        self._check_weighting()
        self._check_calibration()
        self._check_search()
        self._check_invariances()
        return self

    def _check_kind_takes_inputs(self) -> None:
        kind = self.model.kind
        taken = INPUTS_OF.get(kind)
        if taken is None:
            return
        wrong = [f"{each.name!r} ({each.type})" for each in self.inputs if each.type not in taken]
        if wrong or (kind in ONE_INPUT and len(self.inputs) > 1):
            what = f"one input of type {taken[0]}" if kind in ONE_INPUT else f"inputs of type {', '.join(taken)}"
            found = ", ".join(wrong[:5]) if wrong else f"{len(self.inputs)} inputs"
            others = [name for name in KINDS if {each.type for each in self.inputs} <= set(INPUTS_OF[name])]
            fitting = [name for name in others if len(self.inputs) == 1 or name not in ONE_INPUT]
            instead = f"kind {' or '.join(fitting)}" if fitting else "a class of your own, `module:Class`"
            raise _error_at(("model", "kind"), f"kind {kind} takes {what}; found {found}. Use {instead}", kind)

    def _check_weighting(self) -> None:
        """What `training` says of classes is for an output that has one class a row."""
        training, place = self.training, ("training", "class_weights")
        for name in training.weighting:
            if self.output.type != "category":
                text = f"`{name}` is for an output of type category; this one is of type {self.output.type}"
                raise _error_at(("training", name), text, getattr(training, name))
        if isinstance(training.class_weights, dict) and (unknown := training.class_weights.keys() - set(self.classes)):
            shown = ", ".join(map(repr, sorted(unknown)[:5]))
            text = f"{shown}: no class of the output, which has {', '.join(self.classes[:20])}"
            raise _error_at(place, text, training.class_weights)
        if self.model.learner == "trees" and training.auto:
            raise _error_at(("training", "auto"), "trees grow in one process; leave `auto` out", True)
        if self.model.learner == "trees" and training.compile != "off":
            raise _error_at(("training", "compile"), "trees are no network; leave `compile` out", training.compile)
        if self.model.learner == "trees" and training.label_smoothing:
            text = "trees have no label smoothing; use `class_weights` alone, or another kind"
            raise _error_at(("training", "label_smoothing"), text, training.label_smoothing)

    def _check_calibration(self) -> None:
        if self.training.calibrate != "none" and self.output.type == "number":
            text = "`calibrate` is for an output with probabilities (category, tags); a number has none. Leave it out"
            raise _error_at(("training", "calibrate"), text, self.training.calibrate)

    def _check_search(self) -> None:
        if self.model.learner == "trees" and self.training.search is not None:
            text = "`search` is for networks: none of the fields that it can search is one of trees. Leave it out"
            raise _error_at(("training", "search"), text, sorted(self.training.search.space))

    def _check_invariances(self) -> None:
        types = {each.type for each in self.inputs}
        for place, name in enumerate(self.invariant_to):
            if INPUT_TYPE_OF[name] not in types:
                text = f"{name} is a change of inputs of type {INPUT_TYPE_OF[name]}, of which there is none"
                raise _error_at(("invariant_to", str(place)), text, name)

    @cached_property
    def examples(self) -> ExampleSchema:
        """What its examples look like."""
        return ExampleSchema(inputs=self.inputs, output=self.output)

    @property
    def classes(self) -> tuple[str, ...]:
        """Of an output of categories or tags; empty for a number."""
        return self.examples.classes

    @property
    def compared_metric(self) -> Metric:
        """What the gate compares."""
        return self.metric or METRICS_OF[self.output.type][0]

    @property
    def features(self) -> FeatureSpec:
        """The single vector input in its old form, which own classes of before read. ValueError for other inputs."""
        vector = self.examples.short_input
        if vector is None:
            raise ValueError(f"task {self.name!r} has typed inputs and no `features`")
        low, high = vector.range
        return FeatureSpec(num_features=vector.size, min_value=low, max_value=high)

    @property
    def implementation(self) -> str:
        """`module:Class` of its model."""
        model = self.model
        return model.kind if model.is_own else class_of(model.kind, model.options)
