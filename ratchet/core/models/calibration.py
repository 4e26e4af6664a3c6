"""Whether a model is right as often as it says. Pure.

Shape suffixes: N rows, D decisions of a row (one of a category, one a tag), B bins, G groups, R resamples.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ratchet.core.labels.answers import TAG_PROBABILITY_MIN, Answers
from ratchet.core.labels.schema import CategoryOutput, TagsOutput
from ratchet.core.verdict import Reason

if TYPE_CHECKING:
    from ratchet.core.models.evaluation import EvaluationPolicy

NUM_BINS = 15
"""Of equal width, as in the paper."""
_GROUPS_MAX = 2_000
_RESAMPLES = 1_000
# Fixed: the same answers always get the same verdict.
_SEED = 20_260_103


class Certainty(NamedTuple):
    """How sure a model was of each decision, and whether it was right; each (N, D)."""

    probability_ND: np.ndarray
    right_ND: np.ndarray


def certainty_of(
    answers: Answers, targets: np.ndarray, output: CategoryOutput | TagsOutput, *, classes: Sequence[str]
) -> Certainty | None:
    """Of the answers of a model that knows these classes: the answer to each row, or the yes or no to each tag that the
    output has too; None where there is no such tag. targets: by the output's classes."""
    scores_NK, certain_N = answers.scores_BK, answers.probability_B
    assert scores_NK is not None and certain_N is not None, "only a number has no probabilities"
    if isinstance(output, CategoryOutput):
        labels_N = np.array(output.classes, dtype=object)[targets]
        right_N = np.array(answers.labels.to_pylist(), dtype=object) == labels_N
        return Certainty(certain_N[:, None], right_N[:, None])
    known = [name for name in output.classes if name in classes]
    if not known:
        return None
    own, there = (list(names) for names in (output.classes, classes))
    said_ND = scores_NK[:, [there.index(name) for name in known]]
    is_set_ND = targets[:, [own.index(name) for name in known]] > 0
    is_said_ND = said_ND >= TAG_PROBABILITY_MIN
    return Certainty(np.where(is_said_ND, said_ND, 1 - said_ND), is_said_ND == is_set_ND)


class CalibrationError(NamedTuple):
    """Expected calibration error, a share: 0 = as often right as the probability says."""

    value: float
    lower: float
    upper: float
    """One-sided bounds, by a bootstrap. Resampling adds noise of its own, so the upper one is on the safe side."""


def bin_of(probability_N: np.ndarray) -> np.ndarray:
    """(N,) int64, 0 to NUM_BINS - 1."""
    return np.minimum((np.asarray(probability_N) * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def measure_calibration(certainty: Certainty, *, confidence: float) -> CalibrationError:
    """Of at least one row. The decisions of a row are resampled together: the tags of one example go with each other.

    Source: Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks" (2017), equation 3.
    """
    probability_ND, right_ND = certainty
    num, num_decisions = probability_ND.shape
    excess_N = (right_ND.astype(np.float64) - probability_ND).ravel()
    generator = np.random.default_rng(_SEED)
    num_groups = min(num, _GROUPS_MAX)
    group_N = generator.permutation(num) % num_groups
    places = np.repeat(group_N, num_decisions) * NUM_BINS + bin_of(probability_ND.ravel())
    excess_GB = np.bincount(places, weights=excess_N, minlength=num_groups * NUM_BINS).reshape(num_groups, NUM_BINS)
    sizes_G = np.bincount(group_N, minlength=num_groups) * num_decisions
    counts_RG = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=_RESAMPLES).astype(float)
    errors_R = np.abs(counts_RG @ excess_GB).sum(axis=1) / (counts_RG @ sizes_G)
    value = float(np.abs(excess_GB.sum(axis=0)).sum() / (num * num_decisions))
    lower, upper = (float(np.quantile(errors_R, level)) for level in (1 - confidence, confidence))
    return CalibrationError(value, min(lower, value), max(upper, value))


def check_calibration(
    challenger: CalibrationError,
    champion: CalibrationError | None,
    policy: "EvaluationPolicy",
    *,
    temperature: float = 1.0,
    untempered: CalibrationError | None = None,
) -> Reason:
    """Refuses where a greater error than the policy's cannot be excluded. untempered: without its temperature."""
    limit = policy.ece_max
    told = "no limit is set (`ece_max`)" if limit is None else f"limit {limit:.3f}"
    before = f", the champion's is {champion.value:.3f}" if champion else ""
    tempered = f", {untempered.value:.3f} without its temperature of {temperature:g}" if untempered else ""
    return Reason(
        check="calibration",
        value=challenger.value if limit is None else challenger.upper,
        limit=limit,
        passed=limit is None or challenger.upper <= limit,
        text=f"the challenger's calibration error is {challenger.value:.3f}, {challenger.lower:.3f} to "
        f"{challenger.upper:.3f} ({policy.confidence:.0%} bounds){tempered}{before}; {told}",
    )
