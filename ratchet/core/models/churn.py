"""How many answers a challenger changes, whether for better or for worse. Pure. Shape suffixes: N test rows."""

from typing import TYPE_CHECKING

import numpy as np

from ratchet.core.labels.answers import Answers
from ratchet.core.models.exact import share_bounds
from ratchet.core.verdict import Reason

if TYPE_CHECKING:
    from ratchet.core.models.evaluation import EvaluationPolicy


def moved(one: Answers, other: Answers, *, beyond: float) -> np.ndarray:
    """(N,) bool: where two answers to a row are another class, another set of tags, or numbers further apart."""
    if one.scores_BK is None and other.scores_BK is None:
        pair = [np.asarray(each.labels.to_numpy(zero_copy_only=False), dtype=np.float64) for each in (one, other)]
        return np.asarray(np.abs(pair[0] - pair[1]) > beyond)
    return np.array(one.texts, dtype=object) != np.array(other.texts, dtype=object)


def distance_of(targets: np.ndarray, *, share: float) -> float:
    """From which distance on a number counts as another answer: a share of the standard deviation of the labels."""
    return share * float(np.std(targets)) if targets.ndim == 1 and targets.dtype.kind == "f" and len(targets) else 0.0


def check_churn(moved_N: np.ndarray, policy: "EvaluationPolicy") -> Reason:
    """Refuses where a greater churn than the policy's cannot be excluded."""
    num, total = int(moved_N.sum()), len(moved_N)
    share = num / total if total else 0.0
    _, most = share_bounds(num, total, confidence=policy.confidence)
    limit = policy.churn_max
    told = "no limit is set (`churn_max`)" if limit is None else f"limit {limit:.1%}"
    return Reason(
        check="churn",
        value=share if limit is None else most,
        limit=limit,
        passed=limit is None or most <= limit,
        text=f"{share:.1%} of the answers are others than the champion's ({num} of {total}), at most {most:.1%} "
        f"({policy.confidence:.0%} bound); {told}",
    )
