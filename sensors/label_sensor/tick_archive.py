"""The tick log in S3: `s3://ratchet/ticks/<task>/<ulid>.json`, an object an entry. It outlives every sensor."""

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from ratchet.core.errors import NotFound, RatchetError
from ratchet.core.labels.shards import ulid_of
from ratchet.core.ports import ObjectStore
from sensors.label_sensor.tick_log import TickEntry, TickLog
from wire.heartbeat import Heartbeat

log = logging.getLogger(__name__)

KEPT_MAX = 500
"""Entries of a task."""
KEPT_FOR = timedelta(days=30)
_PRUNE_EVERY = 50
"""Entries of a task between two clean-ups: each costs one listing of at most KEPT_MAX + 50 keys."""
_NUM_THREADS = 8
_RETRY_S = 10.0
_GROWTH_POLL_S = 5.0


def utc_now() -> datetime:
    return datetime.now(UTC)


class TickArchive:
    """The entries of every task that any sensor wrote."""

    def __init__(self, objects: ObjectStore, *, bucket: str, now: Callable[[], datetime] = utc_now) -> None:
        self._objects = objects
        self._root = f"s3://{bucket}/ticks"
        self._now = now

    def put(self, entry: TickEntry) -> None:
        """Written over as it grows: its id is its key."""
        uri = f"{self._root}/{entry.report.task}/{entry.id}.json"
        self._objects.put(uri, json.dumps(entry.as_row()).encode())

    def list_newest(self, task: str, *, limit: int) -> list[dict[str, Any]]:
        """The newest entries of a task as `TickEntry.as_row` gave them, newest first."""
        uris = self._list_kept(task)[-limit:]
        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            rows = threads.map(self._fetch, reversed(uris))
            return [row for row in rows if row is not None]

    def prune(self, task: str) -> int:
        """Delete what is too old or too much; how many it was."""
        uris = list(self._objects.list_uris(f"{self._root}/{task}/"))
        kept = frozenset(self._list_kept(task)[-KEPT_MAX:])
        surplus = [uri for uri in uris if uri not in kept]
        for uri in surplus:
            self._objects.delete(uri)
        return len(surplus)

    def _list_kept(self, task: str) -> list[str]:
        folder = f"{self._root}/{task}/"
        oldest = ulid_of(self._now() - KEPT_FOR, bytes(10))
        return list(self._objects.list_uris(folder, start_after=f"{folder}{oldest}"))

    def _fetch(self, uri: str) -> dict[str, Any] | None:
        """None for what is gone by now or is no entry: a log with a hole is still a log."""
        try:
            row = json.loads(self._objects.fetch(uri))
        except (NotFound, ValueError):
            return None
        return row if isinstance(row, dict) and {"id", "at", "outcome"} <= row.keys() else None


class TickWriter:
    """A thread that brings the log to S3: no tick waits for it, no failure of it reaches one."""

    def __init__(self, ticks: TickLog, archive: TickArchive) -> None:
        self._ticks = ticks
        self._archive = archive
        self._stopping = threading.Event()
        self._num_written: Counter[str] = Counter()
        self._newest_id: dict[str, str] = {}
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="tick-writer", daemon=True)
        self.heartbeat = Heartbeat("tick-writer", late_s_max=600.0)

    def start(self) -> None:
        self._thread.start()
        self.heartbeat.begin(self._thread)

    def stop(self, *, timeout_s: float) -> None:
        """Write what is left, if that goes quickly."""
        self._stopping.set()
        self._ticks.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

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

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.heartbeat.beat(next_in_s=_RETRY_S)
            self._ticks.wait_for_news(_GROWTH_POLL_S)
            if not self.write():
                self._stopping.wait(_RETRY_S)
        self.write(all_of_them=True)

    def _put(self, entry: TickEntry) -> None:
        task = entry.report.task
        self._archive.put(entry)
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
