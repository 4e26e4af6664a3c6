"""What has changed, in order, for those who watch: a bounded history that survives a restart.

Every change of any object takes the next number of one counter; that number is the object's resource version and the
change's place in the history. A watch that starts at N gets every change after N once, or is told that the history no
longer reaches back that far.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

NUM_CHANGES_KEPT = 2_000
"""Some thousand bytes each. etcd keeps five minutes of history; this is hours of a busy machine."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS changes (
    resource_version INTEGER PRIMARY KEY, plural TEXT NOT NULL, type TEXT NOT NULL,
    object TEXT NOT NULL, labels_before TEXT);
"""
_CURRENT, _FLOOR = "resource_version", "journal_floor"


class Change(NamedTuple):
    """`type` is ADDED, MODIFIED or DELETED. `labels_before` lets a watch by label tell who came and who left."""

    resource_version: int
    type: str
    object: dict[str, Any]
    labels_before: dict[str, str] | None


class Journal:
    """On the connection of the store whose changes it keeps, inside that store's transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._watchers: set[asyncio.Event] = set()
        db.executescript(_SCHEMA)
        if self._counter(_FLOOR) is None:  # a store that is older than its journal: nothing before now is known
            self._set_counter(_FLOOR, self.current())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when the block raises. Watchers hear of it once it is durable."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        for watcher in self._watchers:
            watcher.set()

    @property
    def num_watchers(self) -> int:
        return len(self._watchers)

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """An event that is set after each change."""
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def current(self) -> int:
        """The newest version; it grows with each change."""
        return self._counter(_CURRENT) or 0

    def floor(self) -> int:
        """The oldest version that a watch may start from."""
        return self._counter(_FLOOR) or 0

    def next_version(self) -> int:
        version = self.current() + 1
        self._set_counter(_CURRENT, version)
        return version

    def append(
        self, plural: str, kind: str, found: Mapping[str, Any], *, labels_before: Mapping[str, str] | None = None
    ) -> None:
        """Remember a change; the object carries its new resource version. Forgets the oldest beyond the bound."""
        version = int(found["metadata"]["resourceVersion"])
        before = None if labels_before is None else json.dumps(labels_before)
        row = (version, plural, kind, json.dumps(found), before)
        self._db.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?)", row)
        floor = version - NUM_CHANGES_KEPT
        if floor > self.floor():
            self._db.execute("DELETE FROM changes WHERE resource_version <= ?", (floor,))
            self._set_counter(_FLOOR, floor)

    def list_after(self, version: int, plural: str) -> list[Change]:
        """Oldest first. The caller has made sure that `version` is not below the floor."""
        rows = self._db.execute(
            "SELECT resource_version, type, object, labels_before FROM changes "
            "WHERE resource_version > ? AND plural = ? ORDER BY resource_version",
            (version, plural),
        )
        return [
            Change(row[0], row[1], json.loads(row[2]), None if row[3] is None else json.loads(row[3])) for row in rows
        ]

    def _counter(self, name: str) -> int | None:
        row = self._db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def _set_counter(self, name: str, value: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, value))
