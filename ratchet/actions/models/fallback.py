"""Can the model that serves now be served again? Known before it is needed: a rollback goes to it."""

import logging
from importlib.metadata import version
from importlib.util import find_spec
from typing import Protocol

from ratchet.adapters.scratch import ScratchFolder
from ratchet.core.errors import DataRejected, NotFound, Unavailable
from ratchet.core.labels.middling import middling_inputs
from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import ModelProbe, ObjectStore
from ratchet.core.verdict import Reason
from ratchet.stores.load_proofs import LoadProofs
from ratchet.tasks.identity import TASK, read_model
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)


class FallbackProof(Protocol):
    """Knows which models can be served again."""

    def prove(self, model: ModelRef) -> Reason: ...
    def remember(self, model: ModelRef) -> None:
        """A revision of it has just become ready: the real server has loaded it, in the real place."""


class LoadProof:
    """Fetches a model and compares its digest, every time. Loading it takes 4 to 12 s, so the real model server does
    that once for each model and version of the server (`LoadProofs`)."""

    def __init__(self, objects: ObjectStore, probe: ModelProbe, proofs: LoadProofs) -> None:
        self._objects, self._probe, self._proofs = objects, probe, proofs

    def prove(self, model: ModelRef) -> Reason:
        try:
            return self._prove(model)
        except (DataRejected, NotFound, Unavailable, OSError, ValueError) as error:
            return _reason(model, passed=False, text=str(error))

    def remember(self, model: ModelRef) -> None:
        self._proofs.put(model.digest, _server_versions())

    def _prove(self, model: ModelRef) -> Reason:
        with ScratchFolder("ratchet-proof-") as scratch:
            path = scratch / "model"
            self._objects.fetch_directory(model.uri, path)
            read_model(path, expected_digest=model.digest)
            if self._proofs.has(model.digest, _server_versions()):
                return _reason(
                    model, passed=True, text="its files have not changed since this model server loaded them"
                )
            spec = TaskSpec.model_validate_json((path / TASK).read_bytes())
            self._probe.fetch_answers(path, middling_inputs(spec.examples))
        self.remember(model)
        return _reason(model, passed=True, text="the model server loads it and answers")


def prove_nothing(model: ModelRef) -> Reason:
    """Where nothing can be tried."""
    return _reason(model, passed=False, text="whether it still loads was not tested")


def _server_versions() -> dict[str, str]:
    """What decides whether weights that loaded once load again."""
    return {name: version(name) for name in ("ratchet", "torch", "kserve", *_optional())}


def _optional() -> tuple[str, ...]:
    return ("lightgbm",) if find_spec("lightgbm") else ()


def _reason(model: ModelRef, *, passed: bool, text: str) -> Reason:
    where = (
        f"version {model.version}, the target of a rollback"
        if model.version
        else f"{model.uri}, the target of a rollback"
    )
    if not passed:
        log.warning("%s: %s", where, text)
    return Reason(
        check="fallback",
        value="loads" if passed else "does not load",
        limit="loads",
        passed=passed,
        text=f"{where}: {text}",
    )
