"""`training: {search: …}`: which numbers are tried, which trials go on, and which one is the model. Pure."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

SEARCH_FILE = "search.json"
"""Beside a model's digest: the `SearchJournal` that the model is the best of."""
SEARCHABLE = (
    "batch_size",
    "learning_rate",
    "weight_decay",
    "schedule",
    "warmup_share",
    "clip_norm",
    "ema_decay",
)
"""Fields of `training` that may be searched. What changes the validation loss itself (class weights, label smoothing)
or the number of epochs is not among them: trials are compared by that loss after the same epochs."""
Value = int | FiniteFloat | str | None
_KEPT_SHARE = 3
"""One in so many goes on at a rung (eta of Jamieson and Talwalkar, "Non-stochastic Best Arm Identification", 2016)."""
_RUNGS_MAX = 2
"""After a ninth and after a third of the epochs: less than a ninth says little of the end."""
_TOLD_MAX = 4_500
"""Characters of the list of trials in the registry: MLflow takes 5,000 in a tag."""
_ERRORS_MAX = 5


class Range(BaseModel):
    """Numbers from low to high. Whole ones where both ends are whole and the field takes no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int | FiniteFloat
    high: int | FiniteFloat
    log: bool = False
    """Drawn evenly by the logarithm."""

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"`low` {self.low} is not below `high` {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"`low` {self.low} with `log: true`; it must be above 0")
        return self

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.low, self.high


class SearchSpec(BaseModel):
    """Trainings that are tried with other numbers; the one with the lowest validation loss is the challenger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(12, ge=2, le=50)
    minutes: float = Field(10.0, gt=0, le=10_080)
    """After so many minutes of trials no further one begins."""
    space: dict[str, Range | tuple[Value, ...]] = Field(min_length=1)
    """Field of `training` to a range or to a list of choices."""

    @model_validator(mode="after")
    def _check_space(self) -> Self:
        unknown = sorted(self.space.keys() - set(SEARCHABLE))
        if unknown:
            shown = ", ".join(map(repr, unknown[:_ERRORS_MAX]))
            raise ValueError(f"{shown} cannot be searched. These fields of `training` can: {', '.join(SEARCHABLE)}")
        for name, found in self.space.items():
            if not isinstance(found, Range) and len(set(found)) < 2:
                raise ValueError(f"`space.{name}` has {len(set(found))} different choices; name two at least")
        return self

    @property
    def ends(self) -> tuple[tuple[str, Value], ...]:
        """Field and value: the ends of each range and each choice."""
        return tuple(
            (name, value)
            for name, found in self.space.items()
            for value in (found.ends if isinstance(found, Range) else found)
        )


class SearchTrial(BaseModel):
    """One training of a search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    """From 1."""
    values: Mapping[str, Value]
    state: Literal["complete", "pruned", "failed"]
    val_losses: tuple[FiniteFloat, ...] = ()
    """After each epoch."""
    seconds: float
    reason: str = ""
    """Why it failed."""

    @property
    def loss(self) -> float | None:
        """The lowest one: a model has the weights of that epoch."""
        return min(self.val_losses, default=None)

    def text(self) -> str:
        """One line for people."""
        loss = "no loss" if self.loss is None else f"{self.loss:.4g}"
        return f"{self.number}: {loss} {self.state} {values_text(self.values)}"


class SearchJournal(BaseModel):
    """The trials so far, in the order of their numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: tuple[SearchTrial, ...] = ()

    @property
    def best(self) -> SearchTrial | None:
        """Of those that were trained to their end; the earlier one of two that are alike."""
        complete = [each for each in self.trials if each.state == "complete" and each.loss is not None]
        return min(complete, key=lambda each: (each.loss, each.number), default=None)

    @property
    def spent_s(self) -> float:
        return sum(each.seconds for each in self.trials)

    def text(self) -> str:
        """For the registry: a line for each trial, cut to what it takes."""
        lines = [each.text() for each in self.trials]
        while len(text := "\n".join(lines)) > _TOLD_MAX:
            lines = lines[:-1]
        more = len(self.trials) - len(lines)
        return f"{text}\nand {more} more in {SEARCH_FILE}" if more else text


def values_text(values: Mapping[str, Value]) -> str:
    return " ".join(
        f"{name}={format(value, '.4g') if isinstance(value, float) else value}" for name, value in values.items()
    )


def is_over(search: SearchSpec, journal: SearchJournal) -> bool:
    """Whether no further trial begins."""
    return len(journal.trials) >= search.trials or journal.spent_s >= search.minutes * 60


def rungs_of(num_epochs: int) -> tuple[int, ...]:
    """Epochs after which a trial is given up unless it is among the better ones; ascending, each below num_epochs."""
    rungs: list[int] = []
    epoch = num_epochs // _KEPT_SHARE
    while epoch >= 1 and len(rungs) < _RUNGS_MAX:
        rungs.insert(0, epoch)
        epoch //= _KEPT_SHARE
    return tuple(rungs)


def limits_of(journal: SearchJournal, num_epochs: int) -> dict[int, float]:
    """For a rung, the lowest validation loss that the next trial must have by then to go on.

    Successive halving without waiting (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020): a
    trial goes on when it is in the best third of those that came to the rung, itself among them. Fewer than three
    have no such third, and it goes on.
    """
    limits = {}
    for rung in rungs_of(num_epochs):
        losses = sorted(min(each.val_losses[:rung]) for each in journal.trials if len(each.val_losses) >= rung)
        num_kept = (len(losses) + 1) // _KEPT_SHARE
        if num_kept:
            limits[rung] = losses[num_kept - 1]
    return limits


def failures_text(journal: SearchJournal) -> str:
    """The different reasons of failed trials."""
    reasons = list(dict.fromkeys(each.reason for each in journal.trials if each.reason))
    more = f" (and {len(reasons) - _ERRORS_MAX} more)" if len(reasons) > _ERRORS_MAX else ""
    return "; ".join(reasons[:_ERRORS_MAX]) + more


def cost_text(search: SearchSpec, *, num_epochs: int, timeout_s: float) -> str:
    """What a search costs at most."""
    return (
        f"at most {search.trials} trials of {num_epochs} epochs, {search.trials * num_epochs:,} epochs in all; none "
        f"begins after {search.minutes:g} min, and the last one may take timeout_s, {timeout_s:g} s, more"
    )
