"""Tasks that wait for their turn, and the threads that run those whose turn it is. One thread alone may call it."""

import bisect
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from embedded.control_plane.engine.resources import Amount, Ticket, choose_startable


@dataclass(frozen=True)
class Place:
    """A task's place in the queue, from `put` until `leave`."""

    ticket: Ticket
    work: "Callable[[Place], None]"


class TaskQueue:
    """Starts a task as soon as a worker is idle and what it asks for is free; never more than the machine has."""

    def __init__(self, machine: Amount, *, num_workers: int) -> None:
        self._machine = machine
        self._num_workers = num_workers
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="task")
        self._numbers = itertools.count()
        self._waiting: list[Place] = []
        self._running: dict[int, Place] = {}

    def put(self, work: Callable[[Place], None], *, run_at: datetime, request: Amount, priority: int = 0) -> Place:
        """Wait for a turn; `work` runs in a thread, and somebody calls `leave` after it."""
        place = Place(Ticket(run_at, next(self._numbers), request, priority), work)
        bisect.insort(self._waiting, place, key=lambda one: one.ticket.turn)
        self.start_next()
        return place

    def leave(self, place: Place) -> bool:
        """Give the place back. True when it was still waiting: its work never starts."""
        was_waiting = self._running.pop(place.ticket.number, None) is None
        if was_waiting:
            index = bisect.bisect_left(self._waiting, place.ticket.turn, key=lambda one: one.ticket.turn)
            if index < len(self._waiting) and self._waiting[index] is place:
                del self._waiting[index]
        self.start_next()
        return was_waiting

    def is_waiting(self, place: Place) -> bool:
        return place.ticket.number not in self._running

    def start_next(self) -> None:
        num_idle = self._num_workers - len(self._running)
        if not num_idle or not self._waiting:
            return
        room = self._machine
        for running in self._running.values():
            room -= running.ticket.request
        chosen = choose_startable((one.ticket for one in self._waiting), room=room, num_workers=num_idle)
        numbers = {ticket.number for ticket in chosen}
        starting = [one for one in self._waiting if one.ticket.number in numbers] if numbers else []
        if starting:
            self._waiting = [one for one in self._waiting if one.ticket.number not in numbers]
        for place in starting:
            self._running[place.ticket.number] = place
            self._pool.submit(place.work, place)

    def shutdown(self) -> None:
        """Forget who waits, and wait for those who run."""
        self._waiting.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
