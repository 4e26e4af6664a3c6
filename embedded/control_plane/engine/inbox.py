"""What the deciding thread does next: events of other threads, and its own timers."""

import heapq
import itertools
import queue
import time
from collections.abc import Callable

LONGEST_SLEEP_S = 3600.0
Event = tuple[str, Callable[[], None]]
"""(id of the run that it concerns, what to do)."""


class Inbox:
    """`tell` and `wake` may be called from any thread, the others from the deciding one."""

    def __init__(self) -> None:
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._timers: list[tuple[float, int, str, Callable[[], None]]] = []
        self._sequence = itertools.count()

    def tell(self, run_id: str, action: Callable[[], None]) -> None:
        self._events.put((run_id, action))

    def tell_later(self, run_id: str, action: Callable[[], None], *, delay_s: float) -> None:
        # The sequence breaks ties: heapq would go on to compare the actions, which have no order.
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._sequence), run_id, action))

    def wake(self) -> None:
        """Let `take` return without an event."""
        self._events.put(None)

    def take(self) -> Event | None:
        """Wait for the next event; None when there is none for now."""
        try:
            return self._events.get(timeout=self._sleep_s())
        except queue.Empty:
            if not self._timers or self._timers[0][0] > time.monotonic():
                return None
            _, _, run_id, action = heapq.heappop(self._timers)
            return run_id, action

    def _sleep_s(self) -> float:
        """Never longer than a lock can wait."""
        due_s = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else LONGEST_SLEEP_S
        return min(due_s, LONGEST_SLEEP_S)
