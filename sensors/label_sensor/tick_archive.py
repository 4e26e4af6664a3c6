"""The thread that brings the tick log to S3 (ratchet/stores/ticks.py)."""

import logging
from collections import Counter

from ratchet.core.errors import RatchetError
from ratchet.stores.ticks import TickArchive
from sensors.label_sensor.tick_log import TickEntry, TickLog
from wire.heartbeat import Heartbeat
from wire.loop import Loop

log = logging.getLogger(__name__)

_PRUNE_EVERY = 50
"""Entries of a task between two clean-ups: each costs one listing of at most KEPT_MAX + 50 keys."""
_RETRY_S = 10.0
_GROWTH_POLL_S = 5.0


class TickWriter:
    """A thread that brings the log to S3: no tick waits for it, no failure of it reaches one."""

    def __init__(self, ticks: TickLog, archive: TickArchive) -> None:
        self._ticks = ticks
        self._archive = archive
        self._num_written: Counter[str] = Counter()
        self._newest_id: dict[str, str] = {}
        self._is_failing = False
        self._loop = Loop(
            "tick-writer",
            self._write_news,
            pause_s=_RETRY_S,
            first_pause_s=0.0,
            late_s_max=600.0,
            at_stop=self._write_rest,
        )

    @property
    def heartbeat(self) -> Heartbeat:
        return self._loop.heartbeat

    def start(self) -> None:
        self._loop.start()

    def stop(self, *, timeout_s: float) -> None:
        """Write what is left, if that goes quickly."""
        self._loop.stop(timeout_s=timeout_s, wake=self._ticks.wake)

    def write(self, *, all_of_them: bool = False) -> bool:
        """One round; whether all of it is in S3 now."""
        entries = self._ticks.take_unwritten(all_of_them=all_of_them)
        for number, entry in enumerate(entries):
            try:
                self._put(entry)
            except Exception as error:
                self._ticks.give_back(entries[number:])
                self._say(error)
                return False
        self._is_failing = self._is_failing and not entries
        return True

    def _write_news(self) -> float:
        """Seconds until the next round: none after a success, for a round begins with a wait."""
        self._ticks.wait_for_news(_GROWTH_POLL_S)
        return 0.0 if self.write() else _RETRY_S

    def _write_rest(self) -> None:
        self.write(all_of_them=True)

    def _put(self, entry: TickEntry) -> None:
        task = entry.report.task
        self._archive.put(task, entry.as_row())
        if self._newest_id.get(task) == entry.id:
            return
        if self._num_written[task] % _PRUNE_EVERY == 0:
            self._archive.prune(task)
        self._num_written[task] += 1
        self._newest_id[task] = entry.id

    def _say(self, error: Exception) -> None:
        """Once an outage; a defect with its stack trace."""
        if not self._is_failing:
            is_planned = isinstance(error, RatchetError)
            log.warning("cannot keep the tick log: %s", error, exc_info=None if is_planned else error)
        self._is_failing = True
