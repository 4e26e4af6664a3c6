"""How a training went, epoch by epoch: what its log, its page and the registry's curves are made of. Pure."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

HISTORY_FILE = "training.jsonl"
"""Beside a model's digest: it describes the training and is no part of the model's identity."""


class EpochMetrics(BaseModel):
    """One line of the history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    """From 1. Of trees, how many there were."""
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    """None where the validation split is empty."""
    learning_rate: float | None = None
    """Of the epoch's last step. None of trees, which have one rate."""
    rows_per_s: float | None = None
    """Training rows, of all workers together, over the epoch's steps."""
    peak_memory_mb: float | None = None
    """The most that worker 0 has held in memory at once since it started, in MiB. Of trees, in the last line only."""
    wait_ratio: float | None = None
    """Share of the time of the epoch's steps that worker 0 spent on getting its rows, 0..1. None of trees."""
    resumed_at_step: int | None = None
    """Of this epoch, where the training went on from a checkpoint; the last time, when more than once."""


class CurvePoint(NamedTuple):
    """One number of one epoch."""

    name: str
    epoch: int
    value: float


_CURVES = ("train_loss", "val_loss", "val_accuracy", "learning_rate", "rows_per_s", "peak_memory_mb", "wait_ratio")


def curve_points(history: Sequence[EpochMetrics]) -> Iterator[CurvePoint]:
    """What was measured, epoch after epoch: what an epoch has no number for has no point."""
    for each in history:
        for name in _CURVES:
            value = getattr(each, name)
            if value is not None:
                yield CurvePoint(name, each.epoch, float(value))


def history_of(data: bytes) -> tuple[EpochMetrics, ...]:
    """From a file of one JSON line an epoch. Nothing when it cannot be read: it describes the training, no more."""
    try:
        return tuple(EpochMetrics.model_validate_json(line) for line in data.splitlines() if line.strip())
    except ValueError:
        return ()


def thinned(history: Sequence[EpochMetrics], num_max: int) -> Sequence[EpochMetrics]:
    """At most so many epochs, evenly spread, the first and the last among them."""
    num = len(history)
    if num <= num_max:
        return history
    return [history[round(place * (num - 1) / (num_max - 1))] for place in range(num_max)]
