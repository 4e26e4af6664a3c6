"""The newest look for drift of each kind: `s3://ratchet/drift/<task>/<kind>.json`."""

import logging
from typing import ClassVar

from pydantic import ValidationError

from ratchet.core.errors import NotFound
from ratchet.core.labels.drift.record import DriftKind, DriftRecord
from ratchet.core.layouts import Layout
from ratchet.stores.layout import Store
from wire.validation_text import validation_text

log = logging.getLogger(__name__)


class DriftRecords(Store):
    """Of every task."""

    layout: ClassVar[Layout] = "drift"

    def put(self, task: str, record: DriftRecord) -> None:
        """Write over the one before."""
        self.objects.put(self._uri(task, f"{record.kind}.json"), record.model_dump_json(indent=2).encode())

    def put_estimate(self, task: str, kind: DriftKind, estimate: str) -> None:
        """Into the record that this look has just put."""
        record = self.fetch(task, kind)
        if record is not None:
            self.put(task, record.model_copy(update={"estimate": estimate}))

    def fetch(self, task: str, kind: DriftKind) -> DriftRecord | None:
        """None before the first look, and when another version wrote it: the count of looks begins again then."""
        uri = self._uri(task, f"{kind}.json")
        try:
            return DriftRecord.model_validate_json(self.objects.fetch(uri))
        except NotFound:
            return None
        except ValidationError as error:
            log.warning("%s cannot be read (%s); the next look replaces it.", uri, validation_text(error))
            return None
