"""Whether both models answer the same when the inputs are changed in ways that the task file declares harmless."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ratchet.core.models.churn import distance_of, moved
from ratchet.core.models.evaluation import EvaluationPolicy
from ratchet.core.models.invariances import InvariantAnswers, changed_inputs

if TYPE_CHECKING:
    from ratchet.tasks.model_files import ServableModel


def answer_changed(
    inputs: pa.Table, challenger: "ServableModel", champion: "ServableModel | None", policy: EvaluationPolicy
) -> list[InvariantAnswers]:
    """Of each change that the challenger's task declares; nothing without rows."""
    spec, found = challenger.spec, []
    for name in spec.invariant_to if inputs.num_rows else ():
        changed = changed_inputs(inputs, spec.examples, name)
        stays = [_stays(model, inputs, changed, policy) for model in (challenger, champion) if model is not None]
        found.append(InvariantAnswers(name, stays[0], stays[1] if champion else None))
    return found


def _stays(model: "ServableModel", inputs: pa.Table, changed: pa.Table, policy: EvaluationPolicy) -> np.ndarray:
    """(N,) bool. A number stays within a share of the spread of the model's own answers."""
    before, after = model.answer(inputs), model.answer(changed)
    own = before.labels.to_numpy(zero_copy_only=False) if before.scores_BK is None else np.zeros(0)
    return ~moved(before, after, beyond=distance_of(own, share=policy.churn_tolerance))
