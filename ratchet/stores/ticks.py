"""What the sensor decided, and since when: `s3://ratchet/ticks/<task>/<ulid>.json`, an object an entry.

The log outlives every sensor: at most 500 entries of a task, of 30 days.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from ratchet.core.errors import NotFound
from ratchet.core.labels.shards import ulid_of
from ratchet.core.layouts import layout_uri
from ratchet.core.ports import ObjectStore

KEPT_MAX = 500
"""Entries of a task."""
KEPT_FOR = timedelta(days=30)
_NUM_THREADS = 8


def utc_now() -> datetime:
    return datetime.now(UTC)


class TickArchive:
    """The entries of every task that any sensor wrote."""

    def __init__(self, objects: ObjectStore, *, bucket: str, now: Callable[[], datetime] = utc_now) -> None:
        self._objects, self._bucket, self._now = objects, bucket, now

    def put(self, task: str, row: Mapping[str, Any]) -> None:
        """An entry as a row with its `id`, a ULID, which is its key. Written over as it grows."""
        self._objects.put(layout_uri(self._bucket, "ticks", task, f"{row['id']}.json"), json.dumps(row).encode())

    def list_newest(self, task: str, *, limit: int) -> list[dict[str, Any]]:
        """The newest entries of a task newest first."""
        uris = self._list_kept(task)[-limit:]
        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            rows = threads.map(self._fetch, reversed(uris))
            return [row for row in rows if row is not None]

    def prune(self, task: str) -> int:
        """Delete what is too old or too much; how many it was."""
        uris = list(self._objects.list_uris(layout_uri(self._bucket, "ticks", task, "")))
        kept = frozenset(self._list_kept(task)[-KEPT_MAX:])
        surplus = [uri for uri in uris if uri not in kept]
        for uri in surplus:
            self._objects.delete(uri)
        return len(surplus)

    def _list_kept(self, task: str) -> list[str]:
        folder = layout_uri(self._bucket, "ticks", task, "")
        oldest = ulid_of(self._now() - KEPT_FOR, bytes(10))
        return list(self._objects.list_uris(folder, start_after=f"{folder}{oldest}"))

    def _fetch(self, uri: str) -> dict[str, Any] | None:
        """None for what is gone by now or is no entry: a log with a hole is still a log."""
        try:
            row = json.loads(self._objects.fetch(uri))
        except (NotFound, ValueError):
            return None
        return row if isinstance(row, dict) and {"id", "at", "outcome"} <= row.keys() else None
