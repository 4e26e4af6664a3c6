"""What the guard remembers of a task, and what it has decided: `s3://ratchet/guard/<task>/`.

- `vigil.json`: the champion's past, written over after each window.
- `rollback-<seq>.json`: a rollback that was decided on, before it is done; seq of the ledger entry that it answers.
"""

import logging
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.core.errors import Conflict, NotFound
from ratchet.core.layouts import Layout
from ratchet.core.rollout.guard import Vigil
from ratchet.stores.layout import Store

log = logging.getLogger(__name__)


class Intent(BaseModel):
    """`rollback-<seq>.json`."""

    model_config = ConfigDict(frozen=True)

    reason: str
    verdict_digest: str = ""
    """Of what was decided, where the ledger's entry will name it; "" where it could not be kept."""


class GuardMemory(Store):
    """Of every task."""

    layout: ClassVar[Layout] = "guard"

    def put_intent(self, task: str, intent: Intent, *, seq: int) -> None:
        """The first reason stands."""
        try:
            self.objects.put_if_absent(self._intent_uri(task, seq), intent.model_dump_json().encode())
        except Conflict:
            return

    def fetch_intent(self, task: str, *, seq: int) -> Intent | None:
        """What was decided on about this entry of the ledger; None when nothing was."""
        try:
            return Intent.model_validate_json(self.objects.fetch(self._intent_uri(task, seq)))
        except NotFound:
            return None

    def put_vigil(self, task: str, vigil: Vigil) -> None:
        self.objects.put(self._uri(task, "vigil.json"), vigil.model_dump_json().encode())

    def fetch_vigil(self, task: str) -> Vigil | None:
        """None before the first, and when another version wrote it."""
        uri = self._uri(task, "vigil.json")
        try:
            return Vigil.model_validate_json(self.objects.fetch(uri))
        except NotFound:
            return None
        except ValidationError:
            log.warning("%s is from another version: the guard gathers the past again", uri)
            return None

    def _intent_uri(self, task: str, seq: int) -> str:
        return self._uri(task, f"rollback-{seq:08d}.json")
