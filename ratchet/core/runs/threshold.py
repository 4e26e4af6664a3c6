"""The threshold as it stands: lower after drift or worse answers, higher while labels are poor. Pure."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from ratchet.core.runs.hours import render_moment
from ratchet.core.runs.policy import Condition, TriggerPolicy
from ratchet.core.runs.signals import SIGNAL_KINDS, Signal, SignalKind

_FOUND: dict[SignalKind, str] = {
    "drift": "drift found",
    "serving_quality": "worse answers in production",
    "label_quality": "poor labels",
}


def newest_signal(kind: SignalKind, signals: Sequence[Signal]) -> Signal | None:
    """The newest finding of a kind, good or bad: a later good one takes a bad one back."""
    return max((signal for signal in signals if signal.kind == kind), key=lambda each: each.at, default=None)


def bad_signal(kind: SignalKind, signals: Sequence[Signal], *, policy: TriggerPolicy, at: datetime) -> Signal | None:
    """The newest finding of a kind, when it is bad and still counts."""
    newest = newest_signal(kind, signals)
    counts = newest is not None and newest.is_bad and at < end_of(newest, policy)
    return newest if counts else None


def end_of(signal: Signal, policy: TriggerPolicy) -> datetime:
    """From when on a finding is too old to count."""
    return signal.at + timedelta(seconds=policy.signal_age_max_s)


def threshold_factor(signals: Sequence[Signal], *, policy: TriggerPolicy, at: datetime) -> tuple[float, list[str]]:
    """What a threshold is multiplied by, and the findings that say so; `Adaptive` states the rule."""
    if policy.adaptive is None:
        return 1.0, []
    adaptive = policy.adaptive
    factor_by_kind: dict[SignalKind, float] = {
        "drift": adaptive.drift_factor,
        "serving_quality": adaptive.serving_factor,
        "label_quality": adaptive.label_quality_factor,
    }
    found = [kind for kind in SIGNAL_KINDS if bad_signal(kind, signals, policy=policy, at=at)]
    lower = min((factor_by_kind[kind] for kind in found if kind != "label_quality"), default=1.0)
    raise_ = factor_by_kind["label_quality"] if "label_quality" in found else 1.0
    return lower * raise_, [f"{_FOUND[kind]} {_found_at(kind, signals)}" for kind in found]


def scaled(threshold: int, factor: float) -> int:
    """Rounded up to whole labels, at least 1."""
    # 200 x 1.1 is 220.00000000000003 in binary fractions, and would be 221.
    return max(math.ceil(round(threshold * factor, 6)), 1)


def threshold_at(policy: TriggerPolicy, signals: Sequence[Signal], *, at: datetime) -> int | None:
    """The labels that a run takes now: the lowest threshold of the policy; None when `when` has no threshold."""
    thresholds = list(_thresholds_of(policy.conditions))
    factor, _ = threshold_factor(signals, policy=policy, at=at)
    return scaled(min(thresholds), factor) if thresholds else None


def _thresholds_of(condition: Condition) -> list[int]:
    own = [condition.threshold] if condition.threshold is not None else []
    return own + [each for child in condition.children for each in _thresholds_of(child)]


def _found_at(kind: SignalKind, signals: Sequence[Signal]) -> str:
    newest = newest_signal(kind, signals)
    assert newest is not None
    return render_moment(newest.at)
