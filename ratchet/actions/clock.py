"""The clock as a port: what waits or writes a date is given one, so that tests need not wait."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The date, aware: for people and for the ledger."""

    def elapsed_s(self) -> float:
        """Seconds since any fixed moment; never goes back: for deadlines."""

    def sleep(self, duration_s: float) -> None: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed_s(self) -> float:
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        time.sleep(duration_s)
