"""One SQLite file. A store with tables in it derives from `Database`; all of them share its transactions.

Write-ahead log: a killed process loses nothing that was committed. One connection writes, behind one lock;
reading has connections of its own, and never waits for a writer.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_MMAP_BYTES = 256 * 1024 * 1024
"""Of the file, read without a system call a page. Address space, not memory of this process."""


class Database:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._owner = 0
        self._connections: list[sqlite3.Connection] = []
        self._idle: list[sqlite3.Connection] = []
        self._connection = self._connect()
        self._connection.execute("pragma journal_mode=wal")
        # In WAL mode NORMAL skips the fsync of each commit: only a power cut can lose the last ones.
        self._connection.execute("pragma synchronous=normal")

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. May be nested: the outermost one commits. What it reads includes what it wrote."""
        with self._lock:
            if self._depth == 0:
                # Takes the write lock at once: a deferred one that reads first gets SQLITE_BUSY when it comes to write.
                self._connection.execute("begin immediate")
                self._owner = threading.get_ident()
            self._depth += 1
            try:
                yield
            except BaseException:
                self._leave("rollback")
                raise
            self._leave("commit")

    def _leave(self, how: str) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._owner = 0
        try:
            if how == "commit" or self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                self._connection.execute(how)
        except sqlite3.Error:
            if self._connection.in_transaction:  # else no transaction could ever begin again
                self._connection.execute("rollback")
            raise

    def execute(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self._connection.execute(sql, values)

    def read(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._owner == threading.get_ident():
            return self._connection.execute(sql, values).fetchall()
        try:
            # No lock: pop and append of a list are atomic under the GIL.
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        # isolation_level=None: else Python's sqlite3 begins transactions by itself, between ours.
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30)
        connection.text_factory = _text_in
        connection.execute(f"pragma mmap_size={_MMAP_BYTES}")
        with self._lock:
            self._connections.append(connection)
        return connection


def _text_in(data: bytes) -> str:
    """What a row holds, also where an earlier release, or a hand, wrote half of a surrogate pair into it."""
    return data.decode(errors="replace")
