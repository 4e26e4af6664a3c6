"""What chance alone does: p-values of the tests that drift is told by. Pure. None is smaller than it should be.

Shape suffixes: G places at which the distributions are compared, K categories, S rows drawn, D features.
"""

import itertools
from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
from scipy.special import chdtrc, chdtri, chndtr, kolmogorov, ndtr, ndtri

from ratchet.core.ranks import ranks_of

P_VALUE_MIN = 1e-300
"""No p-value is 0: what is computed in floats says no more."""
_EXACT_ROWS_MAX = 1_000
"""Rows of both sides together up to which the exact distribution is walked through."""
_EXACT_P_MIN = 1e-13
"""The exact distribution is one minus a sum of floats near one."""
_TIED_PLACES_MAX = 128
_NODES = 128
EXPECTED_MIN = 10
"""Rows that each cell of a table should hold for the chi-square distribution to be right in its far tail."""


def effective_rows(num_old: int, num_new: int) -> float:
    """Of two samples, those of one: n m / (n + m)."""
    return num_old * num_new / (num_old + num_new) if num_old and num_new else 0.0


def p_of_distance(distance: float, *, num_old: int, num_new: int, pooled_G: np.ndarray) -> float:
    """Chance of so wide a Kolmogorov-Smirnov distance without drift.

    pooled_G: share of the rows of both sides up to each different value, rising to 1. Ties make wide gaps rarer: there
    are fewer places for them. Exact for few rows; else the Brownian bridge, at those places alone when they are few.
    """
    if distance <= 0:
        return 1.0
    if num_old + num_new <= _EXACT_ROWS_MAX:
        return max(_exact_p(distance, num_old, num_new, pooled_G), _EXACT_P_MIN)
    wide = distance * np.sqrt(effective_rows(num_old, num_new))
    # Beyond 3 the chance is below 3e-8, and that without ties is the safe side.
    if len(pooled_G) > _TIED_PLACES_MAX or wide > 3:
        return max(float(kolmogorov(wide)), P_VALUE_MIN)
    # The last place is 1 but for rounding, where the bridge ends at 0.
    return _bridge_p(wide, pooled_G[pooled_G < 1 - 1e-9])


def _exact_p(distance: float, num_old: int, num_new: int, pooled_G: np.ndarray) -> float:
    """Walk through all orders of the pooled rows at once; those that leave the band at the end of a tie are out.

    Source: Nikiforov, "Exact Smirnov two-sample tests for arbitrary distributions" (1994).
    """
    num = num_old + num_new
    # Shares times rows are whole numbers but for rounding.
    ends = set(np.rint(pooled_G * num).astype(int).tolist())
    old = np.arange(num_old + 1)
    chances = np.zeros(num_old + 1)
    chances[0] = 1.0
    # Distances are whole multiples of 1 / (n m): compared as such, none is lost to rounding.
    limit = round(distance * num_old * num_new)
    for seen in range(num):
        left = num - seen
        from_old = chances * (num_old - old) / left
        chances = chances * np.maximum(num_new - (seen - old), 0) / left
        chances[1:] += from_old[:-1]
        if seen + 1 in ends:
            chances[np.abs(old * num_new - (seen + 1 - old) * num_old) >= limit] = 0.0
    return float(1 - chances.sum())


def _bridge_p(wide: float, times_G: np.ndarray) -> float:
    """Chance that a Brownian bridge is at least this far from 0 at one of these times, by quadrature from time to
    time."""
    step_min = (2.4 * wide / _NODES) ** 2
    kept, last, skipped = [], 0.0, 0.0
    for time in times_G:
        if time - last >= step_min and 1 - time >= step_min:
            kept.append(float(time))
            last = time
        else:
            skipped = max(skipped, min(time - last, step_min))
    # A place that is left out could have been the widest: the band is narrower by what the bridge moves until the next
    # place, 0.583 deviations in the mean (Chernoff, 1965; Siegmund, 1985).
    band = wide - 0.583 * np.sqrt(skipped)
    if not kept or band <= 0:
        return float(kolmogorov(wide))
    nodes, weights = (unit * band for unit in _quadrature())
    density = _normal(nodes, kept[0] * (1 - kept[0]))
    for time, following in itertools.pairwise(kept):
        shrink = (1 - following) / (1 - time)
        apart = nodes[:, None] - shrink * nodes[None, :]
        density = _normal(apart, (following - time) * shrink) @ (density * weights)
    return float(np.clip(1 - density @ weights, P_VALUE_MIN, kolmogorov(wide) if not skipped else 1.0))


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss and Legendre on -1..1."""
    return np.polynomial.legendre.leggauss(_NODES)


def _normal(values: np.ndarray, variance: float) -> np.ndarray:
    return np.asarray(np.exp(-np.square(values) / (2 * variance)) / np.sqrt(2 * np.pi * variance))


def p_of_counts(old_K: np.ndarray, new_K: np.ndarray, *, error_old: float = 0.0, error_new: float = 0.0) -> float:
    """Pearson's chi-square test that both rows of counts come from one distribution; rare categories are pooled.

    error_old, error_new: by how much each count may be wrong; so much of each difference is nothing.
    """
    table = pooled_rare(old_K, new_K)
    if table.shape[1] < 2:
        return 1.0
    total = table.sum()
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / total
    # What is seen of a count less its expectation moves by the other side's error as well, in the same direction.
    share_new = table[1].sum() / total
    error = error_old * share_new + error_new * (1 - share_new)
    excess = np.maximum(np.abs(table - expected) - error, 0)
    return max(float(chdtrc(table.shape[1] - 1, (np.square(excess) / expected).sum())), P_VALUE_MIN)


def pooled_rare(old_K: np.ndarray, new_K: np.ndarray) -> np.ndarray:
    """(2, K') counts, each column with at least `EXPECTED_MIN` expected rows on either side, but for the last
    resort."""
    table = np.stack([old_K, new_K]).astype(np.float64)
    table = table[:, table.sum(axis=0) > 0]
    if table.size == 0 or not table.sum(axis=1).all():
        return np.zeros((2, 0))
    smaller = table.sum(axis=1).min() / table.sum()
    order = np.argsort(-table.sum(axis=0), kind="stable")
    table = table[:, order]
    is_rare = table.sum(axis=0) * smaller < EXPECTED_MIN
    if not is_rare.any():
        return table
    rest = table[:, is_rare].sum(axis=1, keepdims=True)
    kept = table[:, ~is_rare]
    if kept.shape[1] and rest.sum() * smaller < EXPECTED_MIN:
        kept[:, -1:] += rest
        return kept
    return np.concatenate([kept, rest], axis=1)


def p_of_shares(some_old: int, num_old: int, some_new: int, num_new: int) -> float:
    """Fisher's exact test of two shares, both sides: chance that they differ as much without drift. By doubling."""
    if not (num_old and num_new):
        return 1.0
    num, some = num_old + num_new, some_old + some_new
    expected = some * num_new / num
    if min(expected, (num - some) * num_new / num, some * num_old / num) < EXPECTED_MIN:
        return min(1.0, 2 * _hypergeometric_tail(some_new, num, some, num_new, is_upper=some_new >= expected))
    return p_of_counts(np.array([some_old, num_old - some_old]), np.array([some_new, num_new - some_new]))


def _hypergeometric_tail(seen: int, num: int, some: int, drawn: int, *, is_upper: bool) -> float:
    from scipy.stats import hypergeom  # 1 s, and only small tables need it

    tail = hypergeom.sf(seen - 1, num, some, drawn) if is_upper else hypergeom.cdf(seen, num, some, drawn)
    return max(float(tail), P_VALUE_MIN)


def p_of_unseen(num_once: int, num_twice: int, num_old: int, num_unseen: int, num_new: int) -> float:
    """Chance that so many new rows have a category that no old row has.

    num_once, num_twice: categories that one or two old rows have. Without drift a new row is as likely of an unseen
    category as an old row is the only one of its (Good, 1953); that estimate varies with num_once + 2 num_twice,
    which is taken in its place: the safe side.
    """
    if num_unseen == 0:
        return 1.0
    known = min(num_once + 2 * num_twice + 1, num_old + 1)
    return _hypergeometric_tail(num_unseen, num_old + 1 + num_new, known + num_unseen, num_new, is_upper=True)


def judge_by_classifier(old_SD: np.ndarray, new_SD: np.ndarray) -> tuple[float, float]:
    """How well a linear classifier tells old rows from new ones, and the chance of that without drift.

    Gives (area under the ROC curve, p). Each half of the rows is scored by the classifier of the other half, so the
    scores are exchangeable without drift, and Mann and Whitney's test of them is right whatever the classifier
    learned. Squares of the features are features too: it sees wider as well as moved.
    """
    results = []
    for held_out in (0, 1):
        direction = _direction(_other_half(old_SD, held_out), _other_half(new_SD, held_out))
        scores = [direction(side[held_out::2]) for side in (old_SD, new_SD)]
        results.append(_mann_whitney(*scores))
    areas, p_values = zip(*results, strict=True)
    # Either half may cause half of the false alarms (Bonferroni).
    return float(np.mean(areas)), min(1.0, 2 * min(p_values))


def _other_half(side: np.ndarray, held_out: int) -> np.ndarray:
    return side[1 - held_out :: 2]


def _direction(old: np.ndarray, new: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A score that is higher for rows like the new ones."""
    both = np.concatenate([old, new]).astype(np.float64)
    # A column that is constant has no width to divide by.
    middle, width = both.mean(axis=0), both.std(axis=0) + 1e-9

    def widened(rows: np.ndarray) -> np.ndarray:
        # An outlier counts as 5 deviations: its square must not outweigh all others.
        scaled = np.clip((rows - middle) / width, -5, 5)
        return np.concatenate([scaled, np.square(scaled) - 1], axis=1)

    answers = np.concatenate([np.full(len(old), -1 / len(old)), np.full(len(new), 1 / len(new))])
    inputs = widened(both)
    # A ridge of a tenth of the rows: with fewer rows than features the direction must not follow the noise.
    ridge = np.eye(inputs.shape[1]) * (0.1 * len(both) + 1)
    weights = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ answers)
    return lambda rows: widened(rows) @ weights


def _mann_whitney(old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """(area, p), one-sided: that new scores are higher. Normal approximation with the correction for ties."""
    num_old, num_new = len(old), len(new)
    both = np.concatenate([old, new])
    ranks = ranks_of(both)
    area = (ranks[num_old:].sum() - num_new * (num_new + 1) / 2) / (num_old * num_new)
    _, ties = np.unique(both, return_counts=True)
    num = num_old + num_new
    variance = (num + 1 - (ties**3 - ties).sum() / (num * (num - 1))) / (12 * num_old * num_new)
    if variance <= 0:
        return 0.5, 1.0
    # One half of a step: the area moves in steps of 1 / (n m), the normal distribution in none.
    z = (area - 0.5 - 0.5 / (num_old * num_new)) / np.sqrt(variance)
    return float(area), max(float(ndtr(-z)), P_VALUE_MIN)


TestName = Literal["distribution", "levels", "share", "classifier"]


def detectable_effect(
    test: TestName, *, num_old: int, num_new: int, num_levels: int, p_value: float, power: float
) -> float:
    """The least effect, above what is none, that is seen with this power at this p-value: of a distribution its KS
    distance, of levels the Jensen-Shannon distance, of a share its difference, of a classifier its area less a
    half."""
    rows = effective_rows(num_old, num_new)
    if rows == 0:
        return 1.0
    match test:
        case "classifier":
            needed = (_normal_quantile(p_value) + ndtri(power)) / np.sqrt(12)
        case "levels":
            # For small shifts the Jensen-Shannon distance is Cohen's w / sqrt(8 ln 2).
            needed = np.sqrt(_noncentrality(max(num_levels - 1, 1), p_value, power) / (8 * np.log(2)))
        case "share":
            needed = (_normal_quantile(p_value / 2) + ndtri(power)) / 2
        case "distribution":
            needed = np.sqrt(np.log(2 / p_value) / 2) + ndtri(power) / 2
    return float(min(1.0, needed / np.sqrt(rows)))


def _normal_quantile(p_value: float) -> float:
    return float(-ndtri(p_value))


def _noncentrality(freedom: int, p_value: float, power: float) -> float:
    """Of the chi-square distribution that exceeds this p-value's limit with this power."""
    from scipy.optimize import brentq  # 0.3 s

    limit = float(chdtri(freedom, p_value))
    return float(brentq(lambda shift: chndtr(limit, freedom, shift) - (1 - power), 0, 10 * limit + 100))
