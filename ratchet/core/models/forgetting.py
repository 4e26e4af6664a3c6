"""Whether a challenger has forgotten what the champion knew: both on the test rows that the champion's data had too.

Shape suffixes: N test rows, M those of them that are old.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ratchet.core.models.paired import PairedDifference, gain_of_losses, paired_difference
from ratchet.core.models.slices.columns import AGES, SliceColumn
from ratchet.core.verdict import Reason

if TYPE_CHECKING:
    from ratchet.core.models.evaluation import EvaluationPolicy

FORGETTING = "forgetting"


def check_forgetting(
    loss_N: np.ndarray, columns: Sequence[SliceColumn], policy: "EvaluationPolicy", *, of: str = ""
) -> list[Reason]:
    """Refuses where the old rows prove a loss beyond the limit of a part; nothing where none or all rows are old, or
    too few.

    loss_N: how much worse the challenger answers each row, as a share. of: what it is a share of, in words.
    """
    age = next((column for column in columns if column.conditions == AGES), None)
    if age is None:
        return []
    loss_M = loss_N[age.code_N == 0]
    if not policy.slice_rows_min <= len(loss_M) < len(loss_N) or len(loss_M) < 2:
        return []
    gain, limit = gain_on_old(loss_M, confidence=policy.confidence), -policy.slice_loss_max
    return [
        Reason(
            check=FORGETTING,
            value=gain.upper,
            limit=limit,
            passed=gain.upper >= limit,
            text=f"of {len(loss_N)} test rows {len(loss_M)} were in the champion's data: there "
            f"{gain.difference:+.1%}{of}, at most {gain.upper:+.1%}; limit {limit:+.1%}",
        )
    ]


def gain_on_old(loss_M: np.ndarray, *, confidence: float) -> PairedDifference:
    """The challenger's gain on the old rows: of right and wrong answers by Agresti and Min, as each class."""
    if np.isin(loss_M, (-1, 0, 1)).all():
        return paired_difference(loss_M < 0, loss_M > 0, confidence=confidence)
    return gain_of_losses(loss_M, confidence=confidence)
