"""Whether a model is right as often as it says. Pure. Shape suffixes: N rows, B bins, G groups, R resamples."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ratchet.core.verdict import Reason

if TYPE_CHECKING:
    from ratchet.core.models.evaluation import EvaluationPolicy

NUM_BINS = 15
"""Of equal width, as in the paper."""
_GROUPS_MAX = 2_000
_RESAMPLES = 1_000
# Fixed: the same answers always get the same verdict.
_SEED = 20_260_103


class CalibrationError(NamedTuple):
    """Expected calibration error, a share: 0 = as often right as the probability says."""

    value: float
    lower: float
    upper: float
    """One-sided bounds, by a bootstrap. Resampling adds noise of its own, so the upper one is on the safe side."""


def bin_of(probability_N: np.ndarray) -> np.ndarray:
    """(N,) int64, 0 to NUM_BINS - 1."""
    return np.minimum((np.asarray(probability_N) * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def measure_calibration(probability_N: np.ndarray, right_N: np.ndarray, *, confidence: float) -> CalibrationError:
    """probability_N: of the class that was answered. right_N: bool. At least one row.

    Source: Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks" (2017), equation 3.
    """
    num = len(probability_N)
    excess_N = right_N.astype(np.float64) - probability_N
    generator = np.random.default_rng(_SEED)
    num_groups = min(num, _GROUPS_MAX)
    group_N = generator.permutation(num) % num_groups
    places = group_N * NUM_BINS + bin_of(probability_N)
    excess_GB = np.bincount(places, weights=excess_N, minlength=num_groups * NUM_BINS).reshape(num_groups, NUM_BINS)
    sizes_G = np.bincount(group_N, minlength=num_groups)
    counts_RG = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=_RESAMPLES).astype(float)
    errors_R = np.abs(counts_RG @ excess_GB).sum(axis=1) / (counts_RG @ sizes_G)
    value = float(np.abs(excess_GB.sum(axis=0)).sum() / num)
    lower, upper = (float(np.quantile(errors_R, level)) for level in (1 - confidence, confidence))
    return CalibrationError(value, min(lower, value), max(upper, value))


def check_calibration(
    challenger: CalibrationError, champion: CalibrationError | None, policy: "EvaluationPolicy"
) -> Reason:
    """Refuses where a greater error than the policy's cannot be excluded."""
    limit = policy.ece_max
    told = "no limit is set (`ece_max`)" if limit is None else f"limit {limit:.3f}"
    before = f", the champion's is {champion.value:.3f}" if champion else ""
    return Reason(
        check="calibration",
        value=challenger.value if limit is None else challenger.upper,
        limit=limit,
        passed=limit is None or challenger.upper <= limit,
        text=f"the challenger's calibration error is {challenger.value:.3f}, {challenger.lower:.3f} to "
        f"{challenger.upper:.3f} ({policy.confidence:.0%} bounds){before}; {told}",
    )
