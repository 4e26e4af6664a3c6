"""How often different examples have equal features by chance: never on scans, often in a table of categories.

Shape suffixes: N examples, F features.
"""

import numpy as np

# Any number will do, but always the same: a step that is repeated must come to the same verdict.
_SEED = 7


def agreement_by_chance(features_NF: np.ndarray) -> float:
    """The chance (0..1) that two examples of a table have equal features though nobody sent one of them twice.

    features_NF: float. Take one column away: the pairs that agree in all others, but not in this one, are no copies.
    Were the column independent of the others, s / (1 - s) as many pairs would agree in it too, where s is the chance
    that two examples agree in the column, sum(p²) over the shares p of its values. Columns that depend on each other
    make more: so each column gives an underestimate, and the largest of them counts. A copy adds one pair that agrees
    everywhere and none that differs in one column, so copies do not excuse themselves.
    Source of s: Simpson, "Measurement of diversity" (1949).
    """
    num_rows = len(features_NF)
    if num_rows < 2:
        return 0.0
    codes_NF, agreement_F = _codes_of(features_NF)
    totals_N = codes_NF.sum(axis=1, dtype=np.uint64)
    num_equal = _num_pairs(totals_N)
    num_by_chance = 0.0
    for codes_N, agreement in zip(codes_NF.T, agreement_F, strict=True):
        if agreement < 1.0:
            num_near = _num_pairs(totals_N - codes_N) - num_equal
            num_by_chance = max(num_by_chance, num_near * agreement / (1.0 - agreement))
    return min(1.0, num_by_chance / (num_rows * (num_rows - 1) / 2))


def _codes_of(features_NF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A random 64-bit code for each value of each column (N, F), and each column's chance of agreement (F,).

    The sum of an example's codes stands for its features, and minus one code for all of them but one (Zobrist hashing):
    of 10,000 examples two different ones get the same sum once in 10^11 times.
    """
    draw = np.random.default_rng(_SEED)
    codes_NF = np.empty(features_NF.shape, dtype=np.uint64)
    agreement_F = np.empty(features_NF.shape[1])
    for column, values_N in enumerate(features_NF.T):
        _, which_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
        codes_NF[:, column] = draw.integers(0, 2**64, size=len(counts), dtype=np.uint64)[which_N]
        agreement_F[column] = np.sum((counts / len(values_N)) ** 2)
    return codes_NF, agreement_F


def _num_pairs(totals_N: np.ndarray) -> int:
    counts = np.unique(totals_N, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())
