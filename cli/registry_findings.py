"""What `ratchet doctor` says of MLflow: where it does not agree with the ledger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.known_models import fetch_known
from ratchet.core.errors import RatchetError
from ratchet.core.models.registered import CHAMPION, PREVIOUS
from ratchet.settings import variable_of

if TYPE_CHECKING:
    from embedded.doctor import Finding


_NEEDED = ("S3 credential", "MLflow token", variable_of("mlflow_endpoint"))
"""The doctor's findings about the way to what is asked here."""


def registry_findings(others: "Sequence[Finding]") -> "list[Finding]":
    """One finding a task; none while those before say that MLflow or the ledger cannot be reached: each retry of a
    server that is down takes seconds."""
    from embedded.doctor import Finding
    from ratchet import wiring

    if any(not other.is_fine for other in others if other.name in _NEEDED):
        return []
    findings = []
    try:
        for task in wiring.task_names():
            text = _trouble_of(task)
            fix = f"`ratchet models heal {task}`" if text else ""
            findings.append(
                Finding(name=f"registry of {task}", is_fine=not text, detail=text or "agrees with the ledger", fix=fix)
            )
    except (RatchetError, OSError) as error:
        return [Finding(name="registry", is_fine=False, detail=str(error), fix="`ratchet status` shows the servers")]
    return findings


def _trouble_of(task: str) -> str:
    known = fetch_known(task)
    gone = [
        f"{model.role} (version {model.name}) is not in MLflow; this does not affect what it serves"
        for model in known.models
        if model.role in {CHAMPION, PREVIOUS} and not model.is_registered
    ]
    return "; ".join((*gone, *(change.text for change in known.differences)))
