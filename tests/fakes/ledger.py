"""A ledger in memory; it passes tests/contract/test_ledger.py like the real one."""

from collections.abc import Sequence

from ratchet.core.errors import Conflict
from ratchet.core.models.ledger import LedgerEntry


class FakeLedger:
    def __init__(self, entries: Sequence[LedgerEntry] = ()) -> None:
        self._entries = {(entry.task, entry.seq): entry for entry in entries}

    def list_entries(self, task: str) -> Sequence[LedgerEntry]:
        return tuple(self._entries[key] for key in sorted(self._entries) if key[0] == task)

    def append(self, entry: LedgerEntry) -> None:
        first = self._entries.setdefault((entry.task, entry.seq), entry)
        if first != entry:
            raise Conflict(f"entry {entry.seq} of {entry.task} is there already.")
