"""What the search for bad parts says in a verdict. Pure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ratchet.core.models.slices.columns import SliceColumn
from ratchet.core.models.slices.search import find_worse
from ratchet.core.verdict import Reason

if TYPE_CHECKING:
    from ratchet.core.models.evaluation import EvaluationPolicy

FOUND = "found_slices"
"""The check that says how much was looked at; a part that was found is `found_slice:` and its conditions."""


def check_found(
    loss_N: np.ndarray, columns: Sequence[SliceColumn], policy: "EvaluationPolicy", *, of: str = ""
) -> list[Reason]:
    """One reason a part where the challenger is worse: it fails where the rows prove a loss beyond the limit.

    loss_N: how much worse the challenger answers each row, as a share. of: what it is a share of, in words.
    """
    if not columns or not len(loss_N):
        return []
    found = find_worse(loss_N, columns, confidence=policy.confidence)
    where = f"where the challenger is worse, of {found.num_looked_at:,} that were looked at"
    told = f"{len(found.slices)} parts of the test rows found {where}" if found.slices else f"no part found {where}"
    summed = Reason(check=FOUND, value=len(found.slices), limit=None, passed=True, text=told)
    return [
        summed,
        *(
            Reason(
                check=f"found_slice:{each.text}",
                value=-each.loss_min,
                limit=-policy.slice_loss_max,
                passed=each.loss_min <= policy.slice_loss_max,
                text=f"where {each.text}: {-each.loss:+.1%}{of} on {each.num_rows} rows that were not searched, at "
                f"most {-each.loss_min:+.1%}; limit {-policy.slice_loss_max:+.1%}",
            )
            for each in found.slices
        ),
    ]
