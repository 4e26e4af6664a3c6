"""Exact statements about shares of rows, which hold for few rows and for small chances of error alike. Pure."""

import numpy as np
from scipy.special import bdtrc, betaincinv, gammaln

_NUISANCE_SHARE = 0.1
"""Of the level, for the bound of how many rows differ at all."""
_NUM_SHARES = 33
"""Of the rows that differ, at which the chance is computed; it rises with that share, so the last one decides."""
_SPREADS = 12
"""Standard deviations of the number of differing rows within which it is summed: beyond lie 1e-30."""
_ALL_ROWS = 2_000
"""Up to so many rows everything is summed."""


def share_bounds(num: int, total: int, *, confidence: float) -> tuple[float, float]:
    """One-sided bounds of a share, each at this confidence. No rows: 0 to 1.

    Source: Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    1934.
    """
    if not 0 <= num <= total:
        raise ValueError(f"{num} of {total}")
    low = float(betaincinv(num, total - num + 1, 1 - confidence)) if num else 0.0
    high = float(betaincinv(num + 1, total - num, confidence)) if num < total else 1.0
    return low, high


def chance_of_gain(num_better: int, num_worse: int, num_rows: int, *, loss: float, level: float) -> float:
    """The greatest chance of such a gain, or a greater one, of a challenger whose accuracy is `loss` lower.

    num_better, num_worse: rows that the challenger alone, or the champion alone, answers rightly. level: what the
    chance will be compared with; the share of rows that differ is bounded at a tenth of it, a part of the result.
    A p-value that is valid for any number of rows. Source: Berger & Boos, "P values maximized over a confidence set for
    the nuisance parameter" (1994).
    """
    spent = level * _NUISANCE_SHARE
    _, most = share_bounds(num_better + num_worse, num_rows, confidence=1 - spent)
    if loss > most:  # so great a loss needs more differing rows than there can be
        return spent
    shares = np.linspace(max(loss, 1e-12), most, _NUM_SHARES)
    chances = [_tail(num_better - num_worse, num_rows, share=float(share), loss=loss) for share in shares]
    return min(1.0, max(chances) + spent)


def _tail(gain: int, num_rows: int, *, share: float, loss: float) -> float:
    """Chance of a difference of at least `gain` rows where `share` of the rows differ and the loss is the given one."""
    mean, spread = num_rows * share, np.sqrt(num_rows * share * (1 - share))
    reach = num_rows if num_rows <= _ALL_ROWS else int(_SPREADS * spread) + 60
    differing = np.arange(max(0, int(mean) - reach), min(num_rows, int(mean) + reach) + 1)
    weights = np.exp(_log_binomial(differing, num_rows, share))
    needed = np.maximum(np.ceil((differing + gain) / 2), 0)
    better = min(max((share - loss) / (2 * share), 0.0), 1.0)
    chances = np.where(needed > differing, 0.0, np.where(needed <= 0, 1.0, _at_least(needed, differing, better)))
    return float((weights * chances).sum())


def _at_least(needed: np.ndarray, tries: np.ndarray, share: float) -> np.ndarray:
    """Where it is neither certain nor impossible; any number elsewhere."""
    inner = np.clip(needed, 1, np.maximum(tries, 1))
    return np.asarray(bdtrc(inner - 1, np.maximum(tries, 1).astype(np.int64), share))


def _log_binomial(hits: np.ndarray, tries: int, share: float) -> np.ndarray:
    if share >= 1:
        return np.where(hits == tries, 0.0, -np.inf)
    ways = gammaln(tries + 1) - gammaln(hits + 1) - gammaln(tries - hits + 1)
    return np.asarray(ways + hits * np.log(share) + (tries - hits) * np.log1p(-share))
