"""From what a step measured to the signal that the sensor reads. Pure."""

from collections.abc import Sequence
from datetime import datetime

from ratchet.core.labels.drift import DriftDecision
from ratchet.core.labels.quality import AGREEMENT, LABEL_NOISE
from ratchet.core.rollout.monitor import ServingQuality
from ratchet.core.runs.signals import Signal, SignalKind
from ratchet.core.verdict import Reason, Verdict


def drift_signal_of(decision: DriftDecision, *, at: datetime) -> Signal | None:
    """None when there was too little to say anything: what was found before stands until it is too old."""
    return None if decision.name == "too_few" else _signal_of("drift", decision.reasons, at=at)


def serving_quality_signal_of(quality: ServingQuality, *, at: datetime) -> Signal:
    return Signal(
        kind="serving_quality",
        is_bad=quality.is_bad,
        value=quality.value,
        limit=quality.limit,
        at=at,
        text=quality.text,
    )


def label_quality_signal_of(verdict: Verdict, *, at: datetime) -> Signal | None:
    """From what `validate` says of the labelers: who disagrees with the others, whose labels neighbours contradict.

    None when no labeler could be judged.
    """
    measured = [
        reason
        for reason in verdict.reasons
        if reason.check.startswith((AGREEMENT, LABEL_NOISE)) and isinstance(reason.value, int | float)
    ]
    return _signal_of("label_quality", measured, at=at) if measured else None


def _signal_of(kind: SignalKind, reasons: Sequence[Reason], *, at: datetime) -> Signal:
    """The reason that goes furthest beyond its limit, or comes nearest to it."""
    failed = [reason for reason in reasons if not reason.passed]
    worst = max(failed or reasons, key=_excess_of)
    value, limit = _number(worst.value), _number(worst.limit)
    return Signal(kind=kind, is_bad=bool(failed), value=value, limit=limit, at=at, text=worst.text)


def _excess_of(reason: Reason) -> float:
    limit = _number(reason.limit)
    return _number(reason.value) / limit if limit else 0.0


def _number(value: float | str | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
