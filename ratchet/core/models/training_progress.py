"""How far a training is and how long it still takes, while it goes on. Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

_SECONDS_BELOW_S, _MINUTES_BELOW_S = 100.0, 100 * 60.0
"""Up to there a number of two digits in the smaller unit: 99 s, then 2 min."""


class TrainingProgress(BaseModel):
    """`s3://ratchet/progress/<run id>.json`, as worker 0 tells it."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer Ratchet may tell more

    unit: Literal["step", "tree"] = "step"
    epoch: int = Field(1, ge=1)
    """Under way. Of trees 1, of 1."""
    num_epochs: int = Field(1, ge=1)
    step: int = Field(ge=0)
    """Steps of this epoch that are done, or trees."""
    num_steps: int = Field(ge=1)
    loss: FiniteFloat | None = None
    """In training: the mean of the newest steps."""
    rows_per_s: FiniteFloat | None = None
    left_s: FiniteFloat | None = None
    """Until the last step; None before the first one."""
    is_at_most: bool = False
    """It may end earlier, when the validation loss no longer falls."""


def seconds_left(*, num_done: int, num_all: int, num_before: int, spent_s: float) -> float | None:
    """How long the steps that are left take at the mean pace of this attempt, its validations and checkpoints included.

    num_before: steps of earlier attempts, which the checkpoint brought along. None before a step of this one.
    """
    num_made = num_done - num_before
    return max(num_all - num_done, 0) * spent_s / num_made if num_made > 0 else None


def progress_words(progress: TrainingProgress) -> str:
    """`epoch 3/10 · step 120/400 · loss 0.412 · 12,300 rows/s · about 2 min left`."""
    parts = [f"epoch {progress.epoch}/{progress.num_epochs}"] if progress.unit == "step" else []
    parts.append(f"{progress.unit} {progress.step}/{progress.num_steps}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3g}")
    if progress.rows_per_s is not None:
        parts.append(f"{progress.rows_per_s:,.0f} rows/s")
    if progress.left_s is not None:
        parts.append(f"{'at most' if progress.is_at_most else 'about'} {_span_words(progress.left_s)} left")
    return " · ".join(parts)


def _span_words(seconds: float) -> str:
    """Rounded, since it is an estimate; never less than 1 s."""
    if seconds < _SECONDS_BELOW_S - 0.5:
        return f"{max(round(seconds), 1)} s"
    if seconds < _MINUTES_BELOW_S - 30:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:,.1f} h"
