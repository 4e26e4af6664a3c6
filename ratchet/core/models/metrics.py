"""How good answers are, and how much better those of one model are than those of another on the same rows. Pure.

Every metric but roc_auc is a function of sums over rows, so a bootstrap resamples the sums of groups of rows: exact for
up to 2,000 rows, and for more of them 2,000 groups of equal size that rows are dealt to at random, whose sums vary as
the rows do. roc_auc is a mean over pairs of rows; its bounds are DeLong's.

Shape suffixes: N rows, K classes, G groups, R resamples, S sums.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ratchet.core.labels.answers import TAG_PROBABILITY_MIN
from ratchet.core.models.metric_names import METRICS_OF as METRICS
from ratchet.core.ranks import ranks_of

LOWER_IS_BETTER = frozenset({"log_loss", "rmse", "mae"})
"""Of these a difference is a share of the champion's value: they are not bounded, or have the unit of the label."""
_GROUPS_MAX = 2_000
_RESAMPLES = 1_000
_PROBABILITY_MIN = 1e-15
"""An answer that was certain and wrong costs 34.5, not infinity."""
# A champion without any error would make the share infinite.
_SHARE_MAX = 1e6
# Fixed: the same answers always get the same verdict.
_SEED = 20_260_101

GroupSums = Callable[[np.ndarray, int], np.ndarray]
"""Group of each row (N,) and number of groups, to sums (G, S)."""
ValueOf = Callable[[np.ndarray], np.ndarray]
"""Sums (..., S) to the metric (...)."""


@dataclass(frozen=True)
class MetricDifference:
    """A metric of both models on the same rows, and how much better the challenger is, with one-sided bounds."""

    challenger: float
    champion: float
    difference: float
    """Positive: the challenger is better. A share of the champion's value where lower is better."""
    lower: float
    upper: float
    is_share: bool


def measure(metric: str, targets: np.ndarray, outputs: np.ndarray) -> float:
    """targets: class indices (N,), numbers (N,), or tags (N, K). outputs: probabilities (N, K), or numbers (N,).

    nan where it has no value: roc_auc of one class alone, anything of no rows.
    """
    if not len(targets):
        return float("nan")
    if metric == "roc_auc":
        return _auc_of(targets, outputs)[0]
    group_sums, value_of = _sums_of(metric, targets, outputs)
    return float(value_of(group_sums(np.zeros(len(targets), dtype=np.int64), 1))[0])


def measures_of(output_type: str, targets: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    """All metrics of the type that have a value."""
    found = {metric: measure(metric, targets, outputs) for metric in METRICS[output_type]}
    return {metric: value for metric, value in found.items() if np.isfinite(value)}


def compare(
    metric: str, targets: np.ndarray, challenger: np.ndarray, champion: np.ndarray, *, confidence: float
) -> MetricDifference | None:
    """None where the rows do not give the metric a value. The same rows give the same bounds."""
    if metric == "roc_auc":
        return _compare_areas(targets, challenger, champion, confidence=confidence)
    values = measure(metric, targets, challenger), measure(metric, targets, champion)
    if not np.isfinite(values).all():
        return None
    difference = float(_better_by(metric, *(np.array(value) for value in values)))
    resampled_R = _resample(metric, targets, challenger, champion)
    lower, upper = (float(np.quantile(resampled_R, level)) for level in (1 - confidence, confidence))
    return MetricDifference(*values, difference, lower, upper, metric in LOWER_IS_BETTER)


def common_scores(scores_NK: np.ndarray, columns: list[int]) -> np.ndarray:
    """Probabilities of some classes, given that it is one of them."""
    chosen = scores_NK[:, columns]
    total = chosen.sum(axis=1, keepdims=True)
    # np.where computes both of its branches: the inner one keeps 0 out of the division.
    return np.where(total > 0, chosen / np.where(total > 0, total, 1), 1 / max(1, len(columns)))


def _better_by(metric: str, challenger: np.ndarray, champion: np.ndarray) -> np.ndarray:
    if metric not in LOWER_IS_BETTER:
        return challenger - champion
    share = (champion - challenger) / np.maximum(champion, np.finfo(np.float64).tiny)
    return np.clip(share, -_SHARE_MAX, _SHARE_MAX)


def _resample(metric: str, targets: np.ndarray, challenger: np.ndarray, champion: np.ndarray) -> np.ndarray:
    """(R,) differences on resampled rows, the same for both models."""
    num_rows, generator = len(targets), np.random.default_rng(_SEED)
    num_groups = min(num_rows, _GROUPS_MAX)
    group_N = generator.permutation(num_rows) % num_groups
    counts_RG = generator.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=_RESAMPLES).astype(float)
    values = []
    for outputs in (challenger, champion):
        group_sums, value_of = _sums_of(metric, targets, outputs)
        values.append(value_of(counts_RG @ group_sums(group_N, num_groups)))
    return _better_by(metric, *values)


def _sums_of(metric: str, targets: np.ndarray, outputs: np.ndarray) -> tuple[GroupSums, ValueOf]:
    one_N = np.ones(len(targets))
    if metric == "macro_f1":
        return _class_counts_of(targets, outputs.argmax(axis=1), outputs.shape[1])
    if metric == "accuracy":
        return _by_rows(outputs.argmax(axis=1) == targets, one_N), _mean
    if metric == "log_loss":
        chosen_N = outputs[np.arange(len(targets)), targets]
        return _by_rows(-np.log(np.clip(chosen_N, _PROBABILITY_MIN, 1)), one_N), _mean
    if metric == "tags_f1":
        is_set, is_said = targets > 0, outputs >= TAG_PROBABILITY_MIN
        parts = [(is_set & is_said), (is_set != is_said)]
        return _by_rows(*(part.sum(axis=1) for part in parts)), _f1
    error_N = outputs - targets
    if metric == "mae":
        return _by_rows(np.abs(error_N), one_N), _mean
    if metric == "rmse":
        return _by_rows(error_N**2, one_N), lambda sums: np.sqrt(_mean(sums))
    assert metric == "r2", metric
    centred_N = targets - targets.mean()
    return _by_rows(error_N**2, one_N, centred_N, centred_N**2), _r2


def _by_rows(*columns: np.ndarray) -> GroupSums:
    def group_sums(group_N: np.ndarray, num_groups: int) -> np.ndarray:
        return np.stack([np.bincount(group_N, weights=column, minlength=num_groups) for column in columns], axis=1)

    return group_sums


def _class_counts_of(targets: np.ndarray, said_N: np.ndarray, num_classes: int) -> tuple[GroupSums, ValueOf]:
    """Per class: answered rightly, labelled, answered. Classes that neither occur nor are answered do not count."""

    def group_sums(group_N: np.ndarray, num_groups: int) -> np.ndarray:
        right_N = said_N == targets
        size = num_groups * num_classes
        places = [
            (group_N * num_classes + targets)[right_N],
            group_N * num_classes + targets,
            group_N * num_classes + said_N,
        ]
        counts = [np.bincount(place, minlength=size).reshape(num_groups, num_classes) for place in places]
        return np.concatenate(counts, axis=1).astype(np.float64)

    def value_of(sums: np.ndarray) -> np.ndarray:
        right, labelled, said = np.split(sums, 3, axis=-1)
        counted = labelled + said
        f1 = np.where(counted > 0, 2 * right / np.where(counted > 0, counted, 1), 0.0)
        return np.asarray(f1.sum(axis=-1) / np.maximum((counted > 0).sum(axis=-1), 1))

    return group_sums, value_of


def _mean(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _f1(sums: np.ndarray) -> np.ndarray:
    """Over all tags of all rows; 1 where no tag was set and none was said."""
    right, wrong = sums[..., 0], sums[..., 1]
    counted = 2 * right + wrong
    return np.where(counted > 0, 2 * right / np.where(counted > 0, counted, 1), 1.0)


def _r2(sums: np.ndarray) -> np.ndarray:
    """Share of the labels' variance that is explained; 0 where they do not vary."""
    squares, num, total, total_squares = (sums[..., place] for place in range(4))
    variation = total_squares - total**2 / num
    return np.where(variation > 0, 1 - squares / np.where(variation > 0, variation, 1), 0.0)


def _auc_of(targets: np.ndarray, scores_NK: np.ndarray) -> tuple[float, np.ndarray]:
    """Area under the ROC curve and each row's influence on it (N,), the mean of which is 0.

    Of two classes that of the second one; of more the mean over each class against the rest, of classes that occur.
    Source: DeLong, DeLong & Clarke-Pearson, "Comparing the areas under two or more correlated ROC curves" (1988).
    """
    columns = [1] if scores_NK.shape[1] == 2 else range(scores_NK.shape[1])
    present = [column for column in columns if 0 < (targets == column).sum() < len(targets)]
    if not present:
        return float("nan"), np.zeros(len(targets))
    areas, influences = zip(*(_auc_of_one(targets == column, scores_NK[:, column]) for column in present), strict=True)
    return float(np.mean(areas)), np.mean(influences, axis=0)


def _auc_of_one(is_positive_N: np.ndarray, scores_N: np.ndarray) -> tuple[float, np.ndarray]:
    num, num_positive = len(scores_N), int(is_positive_N.sum())
    num_negative = num - num_positive
    rank_N = ranks_of(scores_N)
    above_N = np.empty(num)
    above_N[is_positive_N] = (rank_N[is_positive_N] - ranks_of(scores_N[is_positive_N])) / num_negative
    above_N[~is_positive_N] = 1 - (rank_N[~is_positive_N] - ranks_of(scores_N[~is_positive_N])) / num_positive
    area = float(above_N[is_positive_N].mean())
    return area, (above_N - area) * np.where(is_positive_N, num / num_positive, num / num_negative)


def _compare_areas(
    targets: np.ndarray, challenger: np.ndarray, champion: np.ndarray, *, confidence: float
) -> MetricDifference | None:
    (one, of_one), (other, of_other) = _auc_of(targets, challenger), _auc_of(targets, champion)
    if not np.isfinite(one - other):
        return None
    half_width = float(ndtri(confidence)) * float((of_one - of_other).std()) / len(targets) ** 0.5
    gain = one - other
    return MetricDifference(one, other, gain, max(gain - half_width, -1.0), min(gain + half_width, 1.0), False)
