"""The ledger: who became champion, one entry after the other."""

from collections.abc import Sequence
from typing import Protocol

from ratchet.core.models.ledger import LedgerEntry


class Ledger(Protocol):
    def list_entries(self, task: str) -> Sequence[LedgerEntry]: ...
    def append(self, entry: LedgerEntry) -> None:
        """Compare-and-swap on `entry.seq`; Conflict when that place is taken."""
