"""What the sensor decided, and since when: `s3://ratchet/ticks/<task>/<ulid>.json`, an object an entry.

The log outlives every sensor: at most 500 entries of a task, of 30 days.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from ratchet.core.errors import NotFound
from ratchet.core.labels.shards import ulid_of
from ratchet.core.layouts import Layout
from ratchet.parallel import map_parallel
from ratchet.stores.layout import Store

KEPT_MAX = 500
"""Entries of a task."""
KEPT_FOR = timedelta(days=30)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class TickArchive(Store):
    """The entries of every task that any sensor wrote."""

    layout: ClassVar[Layout] = "ticks"
    now: Callable[[], datetime] = utc_now

    def put(self, task: str, row: Mapping[str, Any]) -> None:
        """An entry as a row with its `id`, a ULID, which is its key. Written over as it grows."""
        self.objects.put(self._uri(task, f"{row['id']}.json"), json.dumps(row).encode())

    def list_newest(self, task: str, *, limit: int) -> list[dict[str, Any]]:
        """The newest entries of a task newest first."""
        uris = self._list_kept(task)[-limit:]
        return [row for row in map_parallel(self._fetch, uris[::-1]) if row is not None]

    def prune(self, task: str) -> int:
        """Delete what is too old or too much; how many it was."""
        uris = list(self.objects.list_uris(self._uri(task, "")))
        kept = frozenset(self._list_kept(task)[-KEPT_MAX:])
        surplus = [uri for uri in uris if uri not in kept]
        for uri in surplus:
            self.objects.delete(uri)
        return len(surplus)

    def _list_kept(self, task: str) -> list[str]:
        folder = self._uri(task, "")
        # Ten zero bytes: the first id of that millisecond.
        oldest = ulid_of(self.now() - KEPT_FOR, bytes(10))
        return list(self.objects.list_uris(folder, start_after=f"{folder}{oldest}"))

    def _fetch(self, uri: str) -> dict[str, Any] | None:
        """None for what is gone by now or is no entry: a log with a hole is still a log."""
        try:
            row = json.loads(self.objects.fetch(uri))
        except (NotFound, ValueError):
            return None
        return row if isinstance(row, dict) and {"id", "at", "outcome"} <= row.keys() else None
