"""Whether a server's loops still turn: what its health answers, and what restarts it."""

import time
from collections.abc import Callable, Iterable


class Heartbeat:
    """One loop's. Each turn says when the next one is due; a loop that is late by more than a limit stands still."""

    def __init__(self, name: str, *, late_s_max: float, clock: Callable[[], float] = time.monotonic) -> None:
        """late_s_max: longer than any turn that ends by itself, so that a busy loop is never taken for a dead one."""
        self._name = name
        self._late_s_max = late_s_max
        self._clock = clock
        self._is_alive: Callable[[], bool] = lambda: True
        self._began_at = clock()
        self._due_at: float | None = None

    def begin(self, is_alive: Callable[[], bool]) -> None:
        """The loop starts. is_alive: whether the thread or the asyncio task that turns it still runs."""
        self._is_alive = is_alive
        self.beat()

    def beat(self, *, next_in_s: float = 0.0) -> None:
        """A turn has ended, or begins; the next beat is due after a pause of so many seconds."""
        self._began_at = self._clock()
        self._due_at = self._began_at + next_in_s

    @property
    def problem(self) -> str:
        """ "" while it turns, and before it was begun."""
        if self._due_at is None:
            return ""
        if not self._is_alive():
            return f"loop {self._name} has ended"
        now = self._clock()
        if now - self._due_at <= self._late_s_max:
            return ""
        return (
            f"loop {self._name} has not ended a turn for {now - self._began_at:.0f} s (limit {self._late_s_max:.0f} s)"
        )


def problem_in(heartbeats: Iterable[Heartbeat]) -> str:
    """Of all loops that stand still, in one line; "" when none does."""
    return "; ".join(filter(None, (heartbeat.problem for heartbeat in heartbeats)))
