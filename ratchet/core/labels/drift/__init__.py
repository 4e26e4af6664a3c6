"""Are the new examples like those that the champion learned from? A reason to retrain, never a reason to stop. Pure.

`sketches` holds what is kept of a table, `significance` what chance alone does, `measures` how each type of column
shifts, `evidence` what repeated looks may claim, `decide` the verdict. `vectors` judges a task whose only input is a
vector.
"""

from ratchet.core.labels.drift.policy import DriftDecision, DriftName, DriftPolicy
from ratchet.core.labels.drift.vectors import (
    class_shares,
    decide_drift,
    detectable_shift,
    feature_shift,
    label_shift,
    p_value_of_shift,
    rejected_by_holm,
)

__all__ = [
    "DriftDecision",
    "DriftName",
    "DriftPolicy",
    "class_shares",
    "decide_drift",
    "detectable_shift",
    "feature_shift",
    "label_shift",
    "p_value_of_shift",
    "rejected_by_holm",
]
