"""A challenger that was refused is seen in MLflow too, beside those that were registered."""

import logging
from collections.abc import Mapping
from pathlib import Path

from ratchet.actions.models.history import read_history
from ratchet.core.errors import RatchetError
from ratchet.core.ports import Registry
from ratchet.core.runs.outcome import step_after_refused_model
from ratchet.core.verdict import Verdict

log = logging.getLogger(__name__)


def note_refused(
    registry: Registry,
    verdict: Verdict,
    metrics: Mapping[str, float],
    *,
    task: str,
    run_id: str,
    model_path: Path,
) -> None:
    """A run in the task's experiment with the metrics, the training's curves, the gate, its reasons and the next step;
    no version.

    A registry that is away loses this note and nothing else: the refusal stands, and the run stays green.
    """
    tags = {
        "verdict": verdict.verdict,
        "gate": verdict.kind,
        "reasons": verdict.summary(),
        "next_step": step_after_refused_model(task),
        "run_id": run_id,
        **{name: str(value) for name, value in verdict.inputs.items() if value},
    }
    try:
        registry.note_refused(task, key=run_id, tags=tags, metrics=metrics, history=read_history(model_path))
    except RatchetError as error:
        log.warning("the refused challenger of run %s is not shown in the registry: %s", run_id, error)
