"""The clock: what waits or writes a date is given one, so that tests need not wait."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The date, aware: for people and for the ledger."""

    def elapsed_s(self) -> float:
        """Seconds since any fixed moment; never goes back: for deadlines."""

    def sleep(self, duration_s: float) -> None: ...
