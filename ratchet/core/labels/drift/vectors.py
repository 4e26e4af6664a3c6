"""Drift of a task whose only input is a vector and whose output is a category: each feature alone. Pure.

Shape suffixes: N incoming rows, M reference rows, F features, K classes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import kolmogi, kolmogorov, ndtri

from ratchet.core.labels.drift.policy import DriftDecision, DriftPolicy
from ratchet.core.labels.drift.significance import effective_rows
from ratchet.core.verdict import Reason


def label_shift(reference_K: np.ndarray, incoming_K: np.ndarray) -> float:
    """Population stability index of two label histograms. 0 = identical; symmetric; no unit.

    reference_K, incoming_K: (K,) float64 shares of the K classes; each > 0, each sums to 1.
    Source: the J-divergence of Kullback & Leibler, "On Information and Sufficiency" (1951), natural logarithm.
    """
    return float(np.sum((incoming_K - reference_K) * np.log(incoming_K / reference_K)))


def class_shares(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Shares of the classes, (K,), each > 0: half an example is added to each (Jeffreys' prior)."""
    counts = Counter(labels)
    smoothed_K = np.array([counts[name] for name in classes], dtype=np.float64) + 0.5
    return smoothed_K / smoothed_K.sum()


def feature_shift(reference_M: np.ndarray, incoming_N: np.ndarray) -> float:
    """Two-sample Kolmogorov-Smirnov distance of one feature, 0..1: the widest gap of the two distributions."""
    reference_M, incoming_N = np.sort(reference_M), np.sort(incoming_N)
    seen = np.concatenate([reference_M, incoming_N])
    below_reference = np.searchsorted(reference_M, seen, side="right") / len(reference_M)
    below_incoming = np.searchsorted(incoming_N, seen, side="right") / len(incoming_N)
    return float(np.max(np.abs(below_reference - below_incoming)))


def p_value_of_shift(shift: float, *, num_reference: int, num_incoming: int) -> float:
    """Chance of so wide a gap without drift. Too large for values with ties, which is the safe side.

    Source: Smirnov, "Table for estimating the goodness of fit of empirical distributions" (1948), asymptotic.
    """
    return float(kolmogorov(shift * np.sqrt(effective_rows(num_reference, num_incoming))))


def detectable_shift(
    *, num_reference: int, num_incoming: int, num_features: int, false_alarm_ratio: float, power: float
) -> float:
    """The least KS distance that is seen with this power. It shrinks with the square root of the smaller side.

    The gap at one point is a difference of two shares, so its standard deviation is at most 1 / (2 sqrt(rows)).
    """
    root = np.sqrt(effective_rows(num_reference, num_incoming))
    return float((kolmogi(false_alarm_ratio / num_features) + ndtri(power) / 2) / root)


def rejected_by_holm(p_values: Sequence[float], *, false_alarm_ratio: float) -> frozenset[int]:
    """Indices of the hypotheses to reject so that any false one among them has at most this chance.

    Source: Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    rejected = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        if p_values[index] > false_alarm_ratio / (len(p_values) - rank):
            break
        rejected.add(index)
    return frozenset(rejected)


def decide_drift(
    *,
    reference_MF: np.ndarray,
    incoming_NF: np.ndarray,
    reference_labels: Sequence[str],
    incoming_labels: Sequence[str],
    classes: Sequence[str],
    policy: DriftPolicy,
) -> DriftDecision:
    """Compare new labels with old ones: their classes, and each feature alone."""
    too_few = _find_too_few(len(reference_MF), len(incoming_NF), incoming_NF.shape[1], policy)
    if too_few is not None:
        return DriftDecision(name="too_few", reasons=(too_few,))
    reasons = (
        _judge_labels(reference_labels, incoming_labels, classes, policy),
        *_judge_features(reference_MF, incoming_NF, policy),
    )
    is_stable = all(reason.passed for reason in reasons)
    return DriftDecision(name="stable" if is_stable else "drifted", reasons=reasons)


def _find_too_few(num_reference: int, num_incoming: int, num_features: int, policy: DriftPolicy) -> Reason | None:
    fewest = min(num_reference, num_incoming)
    counted = f"{num_incoming} new examples against {num_reference} known ones"
    if fewest < policy.num_rows_min:
        text = f"{counted}: too few to compare; {policy.num_rows_min} are needed on either side"
        return Reason(check="rows", value=fewest, limit=policy.num_rows_min, passed=True, text=text)
    seen = detectable_shift(
        num_reference=num_reference,
        num_incoming=num_incoming,
        num_features=num_features,
        false_alarm_ratio=policy.false_alarm_ratio,
        power=policy.power,
    )
    if seen > policy.detectable_shift_max:
        text = f"{counted} show a shift of {seen:.3f} or more; limit {policy.detectable_shift_max:.3f}"
        return Reason(check="power", value=round(seen, 6), limit=policy.detectable_shift_max, passed=True, text=text)
    return None


def _judge_labels(
    reference_labels: Sequence[str], incoming_labels: Sequence[str], classes: Sequence[str], policy: DriftPolicy
) -> Reason:
    reference_K, incoming_K = class_shares(reference_labels, classes), class_shares(incoming_labels, classes)
    value = label_shift(reference_K, incoming_K)
    widest = int(np.argmax(np.abs(incoming_K - reference_K)))
    text = (
        f"classes shift by {value:.3f} (limit {policy.label_shift_max:.3f}); the largest shift: {classes[widest]!r}, "
        f"{reference_K[widest]:.1%} before and {incoming_K[widest]:.1%} now"
    )
    return Reason(
        check="labels",
        value=round(value, 6),
        limit=policy.label_shift_max,
        passed=value <= policy.label_shift_max,
        text=text,
    )


def _judge_features(reference_MF: np.ndarray, incoming_NF: np.ndarray, policy: DriftPolicy) -> Iterator[Reason]:
    """The features that moved, for certain and by more than is harmless; or one reason that says none did."""
    num_reference, num_incoming = len(reference_MF), len(incoming_NF)
    shifts = [feature_shift(old_M, new_N) for old_M, new_N in zip(reference_MF.T, incoming_NF.T, strict=True)]
    p_values = [p_value_of_shift(shift, num_reference=num_reference, num_incoming=num_incoming) for shift in shifts]
    certain = rejected_by_holm(p_values, false_alarm_ratio=policy.false_alarm_ratio)
    moved = [index for index in sorted(certain) if shifts[index] > policy.feature_shift_max]
    for index in moved:
        text = (
            f"feature {index} shifts by {shifts[index]:.3f} (p = {p_values[index]:.1e}); "
            f"limit {policy.feature_shift_max:.3f}"
        )
        yield _feature_reason(f"feature {index}", shifts[index], policy, passed=False, text=text)
    if not moved:
        widest = int(np.argmax(shifts))
        text = (
            f"no proof that one of {len(shifts)} features shifts by more than {policy.feature_shift_max:.3f}; "
            f"the largest shift: feature {widest} by {shifts[widest]:.3f} (p = {p_values[widest]:.1e})"
        )
        yield _feature_reason("features", shifts[widest], policy, passed=True, text=text)


def _feature_reason(check: str, value: float, policy: DriftPolicy, *, passed: bool, text: str) -> Reason:
    return Reason(check=check, value=round(value, 6), limit=policy.feature_shift_max, passed=passed, text=text)
