"""When the sensor may spend money: reviewed numbers, each with unit and reason. Pure."""

from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ratchet.core.runs.hours import Hours, TimeZone
from ratchet.core.runs.signals import SignalKind

PRIORITIES = {"production": 100, "experiment": 0}
DAY_S = 86_400
YEAR_S = 366 * DAY_S


def _parse_minimum(value: Any) -> Any:
    """YAML reads the class 4 as a number and the class no as False: the one is meant, the other is lost."""
    if not isinstance(value, dict):
        return value
    if lost := [name for name in value if isinstance(name, bool) or name is None]:
        raise ValueError(f"YAML reads a class name here as {lost[0]}: put it in quotes")
    return {str(name): minimum for name, minimum in value.items()}


ClassMinimum = Annotated[int, Field(ge=1)]
PerClassMinimum = Annotated[
    ClassMinimum | Annotated[dict[str, ClassMinimum], Field(min_length=1)], BeforeValidator(_parse_minimum)
]


def _parse_priority(value: Any) -> Any:
    if isinstance(value, str):
        if value not in PRIORITIES:
            raise ValueError(f"{value!r} is no priority: write {' or '.join(PRIORITIES)}, or a whole number")
        return PRIORITIES[value]
    return value


class Condition(BaseModel):
    """One node of `when`: exactly one of its fields is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    any: tuple["Condition", ...] | None = Field(None, min_length=1)
    """One of these holds."""
    all: tuple["Condition", ...] | None = Field(None, min_length=1)
    """Each of these holds."""
    threshold: int | None = Field(None, gt=0)
    """So many new labels; `adaptive` lowers and raises it."""
    labels_min: int | None = Field(None, gt=0)
    """So many new labels, whatever was found."""
    per_class_min: PerClassMinimum | None = None
    """So many new labels of each class, or of the classes named."""
    max_age_s: float | None = Field(None, gt=0, le=YEAR_S)
    """The oldest new label landed so many seconds ago."""
    signal: SignalKind | None = None
    """The newest finding of this kind is bad, and younger than `adaptive.signal_age_max_s`."""

    @model_validator(mode="after")
    def _check_one_field(self) -> "Condition":
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            found = f"found {' and '.join(named)}: join them by `all` or `any`" if named else "found none"
            raise ValueError(f"a condition holds one of {', '.join(type(self).model_fields)}; {found}")
        return self

    @property
    def needs_labels(self) -> bool:
        """Whether a number of labels has to be there before this can hold."""
        if self.any is not None:
            return all(child.needs_labels for child in self.any)
        if self.all is not None:
            return any(child.needs_labels for child in self.all)
        return self.max_age_s is None and self.signal is None

    @property
    def children(self) -> tuple["Condition", ...]:
        return self.any or self.all or ()


class Adaptive(BaseModel):
    """How findings move the threshold: threshold x min(drift_factor, serving_factor) x label_quality_factor, each
    factor only while its newest finding is bad and young.

    Drift and worse answers are two sights of one thing, a champion that has grown old: the stronger of the two
    counts, not both. Poor labels are another thing, so their factor multiplies. At least 0.05 x, at most 10 x.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    drift_factor: float = Field(0.5, ge=0.05, le=1)
    """After drift was found: half the labels are worth a run."""
    serving_factor: float = Field(0.5, ge=0.05, le=1)
    """After the quality of answers in production fell."""
    label_quality_factor: float = Field(2.0, ge=1, le=10)
    """While labels are poor: it takes more of them to learn the same."""
    signal_age_max_s: float = Field(7 * DAY_S, gt=0, le=YEAR_S)
    """A finding counts for so long: a week, in which whoever found it looks again."""


class TriggerPolicy(BaseModel):
    """When the sensor spends money (configs/policies/trigger.yaml); its digest goes into every run key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: int = Field(200, gt=0)
    """New labels that are worth a training run."""
    per_class_min: PerClassMinimum | None = None
    """With the threshold: so many new labels of every class of the task, or of the classes named."""
    max_age_s: float | None = Field(None, gt=0, le=YEAR_S)
    """When the oldest new label is as old, fewer labels will do: `max_age_labels_min`, of whatever class."""
    max_age_labels_min: int | None = Field(None, gt=0)
    """New labels that are worth a run once the oldest is `max_age_s` old."""
    when: Condition | None = None
    """An any/all tree in place of the four fields above."""
    adaptive: Adaptive | None = None
    """None: the threshold stays."""

    failed_attempts_max: int = Field(3, ge=1, le=1000)
    """Runs that may fail in a row before the sensor waits for a person. A "no" of a gate is not a failure."""
    retry_wait_s: float = Field(30.0, ge=0, le=DAY_S)
    """Pause after the first failed run; it doubles with each further one, up to a day, so that a short outage heals by
    itself."""
    cooldown_s: float = Field(0.0, ge=0, le=YEAR_S)
    """Pause after any run has ended, however it ended."""
    runs_per_day_max: int | None = Field(None, ge=1)
    """Runs that may start in a calendar day of `time_zone`; those that people asked for count."""
    run_minutes_per_day_max: float | None = Field(None, gt=0)
    """Minutes that runs may have taken in a calendar day before another one starts. A run under way goes on."""
    time_zone: TimeZone = "UTC"
    """Of `hours` and of the day that budgets are for."""
    hours: Hours | None = None
    """When runs may start; None: at any time."""
    runs_at_once_max: int | None = Field(None, ge=1)
    """Runs of all tasks that may be in flight together; a task has never more than one. None: no limit."""
    priority: Annotated[int, BeforeValidator(_parse_priority)] = PRIORITIES["production"]
    """Who gets a slot of `runs_at_once_max` first: the higher. production is 100, experiment 0."""

    @field_validator("when")
    @classmethod
    def _check_needs_labels(cls, when: Condition | None) -> Condition | None:
        if when is not None and not when.needs_labels:
            raise ValueError(
                "this tree can start a run without new labels: next to each max_age_s and signal put a threshold, "
                "labels_min or per_class_min, as in all: [{signal: drift}, {labels_min: 50}]"
            )
        return when

    @model_validator(mode="after")
    def _check_fields_agree(self) -> "TriggerPolicy":
        names = ("threshold", "per_class_min", "max_age_s", "max_age_labels_min")
        plain = [name for name in names if name in self.model_fields_set and getattr(self, name) is not None]
        if self.when is not None and plain:
            raise ValueError(
                f"when stands in place of {', '.join(plain)}: write them as conditions inside when, or leave when out"
            )
        if self.max_age_s is not None and self.max_age_labels_min is None:
            raise ValueError(
                "max_age_s needs max_age_labels_min, the labels that are worth a run once the oldest is that old; "
                "such as max_age_labels_min: 20"
            )
        if self.max_age_labels_min is not None and self.max_age_s is None:
            raise ValueError("max_age_labels_min needs max_age_s, such as max_age_s: 86400 (a day); or leave both out")
        return self

    @property
    def signal_age_max_s(self) -> float:
        return (self.adaptive or Adaptive()).signal_age_max_s

    @property
    def conditions(self) -> Condition:
        """What has to hold for a run: `when`, or the plain fields as such a tree."""
        if self.when is not None:
            return self.when
        minimum = self.per_class_min
        by_class = tuple(sorted(minimum.items())) if isinstance(minimum, dict) else minimum
        return _plain_conditions(self.threshold, by_class, self.max_age_s, self.max_age_labels_min)


@lru_cache(maxsize=64)
def _plain_conditions(
    threshold: int,
    per_class_min: int | tuple[tuple[str, int], ...] | None,
    max_age_s: float | None,
    max_age_labels_min: int | None,
) -> Condition:
    """(threshold and per_class_min) or (max_age_s and max_age_labels_min), without what is not asked for."""
    enough = Condition(threshold=threshold)
    if per_class_min is not None:
        minimum = dict(per_class_min) if isinstance(per_class_min, tuple) else per_class_min
        enough = Condition(all=(enough, Condition(per_class_min=minimum)))
    if max_age_s is None:
        return enough
    old = Condition(all=(Condition(max_age_s=max_age_s), Condition(labels_min=max_age_labels_min)))
    return Condition(any=(enough, old))
