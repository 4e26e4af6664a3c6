"""The ledger as objects: `s3://<bucket>/ledger/<task>/<seq:08d>.json`, each written only where none is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import ValidationError

from ratchet.core.errors import Conflict, DataRejected
from ratchet.core.layouts import Layout
from ratchet.core.models.envelope import sign_statement
from ratchet.core.models.ledger import LedgerEntry, entry_digest
from ratchet.core.models.statements import entry_statement
from ratchet.core.ports import Signer, StoredObject
from ratchet.stores.layout import Store
from wire.validation_text import validation_text


@dataclass(frozen=True)
class S3Ledger(Store):
    """`ports.Ledger` over an object store with conditional writes. Safe to share between threads.

    Each entry is read once a process: the guard lists every two seconds, for months. A listing is one request.
    """

    layout: ClassVar[Layout] = "ledger"
    signer: Signer | None = None
    """Signs what is appended; the signature lies in the entry, so neither is ever there without the other."""
    _known: dict[str, tuple[str, LedgerEntry]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """URI to etag and entry: one that was restored from a backup is read again."""

    def list_entries(self, task: str) -> Sequence[LedgerEntry]:
        return tuple(self._remembered(stored) for stored in self.objects.list_objects(self._folder_of(task)))

    def append(self, entry: LedgerEntry) -> None:
        """Compare-and-swap on `entry.seq`; the very same entry twice is fine.

        A conditional write whose answer was lost is sent again by the object store and then meets itself.
        """
        uri = self.uri_of(entry.task, entry.seq)
        try:
            self.objects.put_if_absent(uri, (self._signed(entry).model_dump_json(indent=2) + "\n").encode())
        except Conflict:
            first = self._fetch(uri)
            if entry_digest(first) != entry_digest(entry):
                raise Conflict(
                    f"{uri}: run {first.run_id!r} came first ({first.kind} model {first.model.digest[:12]}). "
                    "Start the rollout again: it will be compared with the present champion."
                ) from None

    def uri_of(self, task: str, seq: int) -> str:
        return f"{self._folder_of(task)}{seq:08d}.json"

    def _signed(self, entry: LedgerEntry) -> LedgerEntry:
        if self.signer is None:
            return entry
        return entry.model_copy(update={"attestation": sign_statement(entry_statement(entry), self.signer)})

    def _folder_of(self, task: str) -> str:
        return self._uri(task, "")

    def _remembered(self, stored: StoredObject) -> LedgerEntry:
        etag, entry = self._known.get(stored.uri, ("", None))
        if entry is None or etag != stored.etag:
            entry = self._fetch(stored.uri)
            self._known[stored.uri] = (stored.etag, entry)
        return entry

    def _fetch(self, uri: str) -> LedgerEntry:
        try:
            return LedgerEntry.model_validate_json(self.objects.fetch(uri))
        except ValidationError as error:
            raise DataRejected(
                f"{uri} is not a ledger entry: {validation_text(error)}. Entries are written once and never edited; "
                "restore this object from its backup."
            ) from None
