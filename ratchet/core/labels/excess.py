"""Does one labeler err more than the labels around him, beyond chance? The arithmetic of both checks of labelers. Pure.

Each judged label i has a value c_i (0..1: how far it is contradicted) and an expected value u_i: that of the labels of
others at the same place. If the labeler is one of them, E[c_i - u_i] = 0 whatever the noise, the number of classes,
their balance and the difficulty of the examples that he got: no constant is
assumed. So what is tested is the mean of c_i - u_i.
"""

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import ndtri

Yardstick = Literal["others", "accepted", "partners", "nothing"]
"""partners: of examples with two voices each, how often the second ones differ from third labelers elsewhere."""


class LabelerRecord(BaseModel):
    """How much more often a labeler is contradicted than others would be on the same examples."""

    model_config = ConfigDict(frozen=True)

    labeler: str
    num_judged: int
    """Labels that have something to be compared with."""
    ratio: float = 0.0
    """Share (0..1) of them that is contradicted."""
    expected_ratio: float = 0.0
    """The same share of the labels of others at the same places."""
    excess_lower_bound: float | None = None
    """Of the true difference of the two (-1..1), at the confidence that was asked for; None: not judged."""
    compared_with: Yardstick = "nothing"


def each_confidence(confidence: float, num_labelers: int) -> float:
    """Of one of so many, that it holds for all together (Bonferroni)."""
    return 1.0 - (1.0 - confidence) / max(1, num_labelers)


def record_of(
    labeler: str,
    contradicted_N: np.ndarray,
    expected_N: np.ndarray,
    *,
    confidence: float,
    compared_with: Yardstick,
    shares_M: np.ndarray | None = None,
) -> LabelerRecord:
    """One labeler's record, with the one-sided normal bound of the mean of c_i - u_i.

    contradicted_N, expected_N: (N,) float, 0..1. shares_M: (M,), how much of the mean of u_i comes from each label of
    others, sums to 1: one that stands beside many of his labels is one observation. None: the u_i are independent.
    The variance of c is that of a share with one hit and one miss more, so that few equal values are not sure ones.
    """
    num = len(contradicted_N)
    ratio, expected = float(contradicted_N.mean()), float(expected_N.mean())
    if shares_M is None:
        # 0.5: the squares of one hit and one miss, each half a label from their mean.
        spread = float(((contradicted_N - expected_N - (ratio - expected)) ** 2).sum() + 0.5) / (num + 2)
        variance = spread / num
    else:
        variance = _smoothed(ratio, num) / num + _smoothed(expected, len(shares_M)) * float((shares_M**2).sum())
    bound = ratio - expected - float(ndtri(confidence)) * float(np.sqrt(variance))
    return LabelerRecord(
        labeler=labeler,
        num_judged=num,
        ratio=ratio,
        expected_ratio=expected,
        excess_lower_bound=bound,
        compared_with=compared_with,
    )


def not_judged(labeler: str, num_judged: int) -> LabelerRecord:
    return LabelerRecord(labeler=labeler, num_judged=num_judged)


def _smoothed(ratio: float, num: int) -> float:
    share = (ratio * num + 1) / (num + 2)
    return share * (1 - share)
