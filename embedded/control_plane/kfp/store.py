"""All state of the pipelines' side, in one SQLite file: documents of the API, pipelines, tasks of runs, the cache.

Write-ahead log: a killed process loses nothing that was committed. One connection writes, behind one lock;
reading has connections of its own, and never waits for a writer.
"""

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedded.control_plane.engine.records import RunRequest, TaskRecord
from embedded.control_plane.engine.values import Values, digest_of
from embedded.control_plane.errors import Conflict, NotFound
from embedded.control_plane.kfp.store_healing import completed, heal, object_in, outputs_in, record_in
from embedded.control_plane.kfp.store_schema import prepare
from embedded.control_plane.sound_json import dumps_sound, json_of_model

Document = dict[str, Any]
"""What the API shows. Keys that begin with an underscore are ours, and never leave the server."""

_UNFINISHED = "state in ('PENDING', 'RUNNING', 'CANCELING', 'PAUSED')"
_RUN_ID = re.compile(r"(?<=/)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=/)")
_MMAP_BYTES = 256 * 1024 * 1024


class Store:
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
        self._connection.execute("pragma synchronous=normal")
        is_old = prepare(self._connection)
        heal(self._connection)
        if is_old:
            self._note_old_uses()

    def close(self) -> None:
        with self._lock:
            for connection in self._connections:
                connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. May be nested: the outermost one commits. What it reads includes what it wrote."""
        with self._lock:
            if self._depth == 0:
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

    def check_writable(self) -> None:
        """Write something; sqlite3.Error when the disk is full."""
        with self.transaction():
            self._execute("insert or replace into cache values ('.probe', '.probe', ?)", (" " * 4096,))
            self._execute("delete from cache where scope = '.probe'", ())

    def add(self, kind: str, document_id: str, document: Document) -> None:
        """Conflict when the id is taken."""
        try:
            self._execute(
                "insert into documents (kind, id, created_at, body) values (?, ?, ?, ?)",
                (kind, document_id, document["created_at"], dumps_sound(document)),
            )
        except sqlite3.IntegrityError:
            raise Conflict(f"{kind} {document_id} exists already. Use another id.") from None

    def get(self, kind: str, document_id: str) -> Document:
        """NotFound when there is none."""
        rows = self._read("select id, body from documents where kind = ? and id = ?", (kind, document_id))
        if not rows:
            raise NotFound(f"{kind} {document_id!r} not found. List them to see the existing ones.")
        return completed(kind, *rows[0])

    def change(self, kind: str, document_id: str, change: Callable[[Document], Document | None]) -> Document:
        """Read, change and write as one; `change` returns None to leave it as it is."""
        with self.transaction():
            document = self.get(kind, document_id)
            changed = change(dict(document))
            if changed is None:
                return document
            self._execute(
                "update documents set body = ? where kind = ? and id = ?", (dumps_sound(changed), kind, document_id)
            )
            return changed

    def remove(self, kind: str, document_id: str) -> None:
        with self.transaction():
            self.get(kind, document_id)
            self._execute("delete from documents where kind = ? and id = ?", (kind, document_id))

    def select(
        self,
        kind: str,
        *,
        where: str = "1",
        values: tuple[Any, ...] = (),
        order_by: str = "created_at, seq",
        limit: int = -1,
    ) -> list[Document]:
        """Documents by an SQL condition over the columns. Only code of ours writes `where` and `order_by`."""
        sql = f"select id, body from documents where kind = ? and {where} order by {order_by} limit ?"  # noqa: S608
        return [completed(kind, *row) for row in self._read(sql, (kind, *values, limit))]

    def page(
        self, kind: str, *, where: str, values: tuple[Any, ...], column: str, direction: str, limit: int
    ) -> list[tuple[Document, str, int]]:
        """Documents sorted by one column, each with that column and its number; the two are its place in the order."""
        order_by = f"{column} {direction}, seq {direction}"
        sql = f"select id, body, {column}, seq from documents where kind = ? and {where} order by {order_by} limit ?"  # noqa: S608
        rows = self._read(sql, (kind, *values, limit))
        return [(completed(kind, document_id, body), key, seq) for document_id, body, key, seq in rows]

    def count(self, kind: str, *, where: str = "1", values: tuple[Any, ...] = ()) -> int:
        sql = f"select count(*) from documents where kind = ? and {where}"  # noqa: S608 - as in select()
        return int(self._read(sql, (kind, *values))[0][0])

    def put_spec(self, wire: Mapping[str, Any]) -> str:
        """Keep a pipeline once; the digest names it."""
        digest = digest_of(wire)
        self._execute("insert or ignore into specs values (?, ?)", (digest, dumps_sound(wire)))
        return digest

    def get_spec(self, digest: str) -> dict[str, Any]:
        rows = self._read("select body from specs where digest = ?", (digest,))
        if not rows:
            raise NotFound(f"pipeline spec {digest} not found.")
        return object_in(rows[0][0])

    def with_spec(self, shown: Document, document: Document) -> Document:
        """`shown` with the pipeline of a document; without, where the database has lost it."""
        rows = self._read("select body from specs where digest = ?", (str(document.get("_spec_digest")),))
        return {**shown, "pipeline_spec": object_in(rows[0][0])} if rows else shown

    def put_task(self, run_id: str, record: TaskRecord) -> None:
        self._execute("insert or replace into tasks values (?, ?, ?)", (run_id, record.path, json_of_model(record)))
        if record.is_cached:
            self._note_uses(run_id, record)

    def _note_uses(self, run_id: str, record: TaskRecord) -> None:
        """A task that was taken from the cache needs the artifacts of the run that made them."""
        uris = [artifact.uri for artifacts in record.outputs.artifacts.values() for artifact in artifacts]
        for owner in {match[0] for uri in uris for match in _RUN_ID.finditer(uri)} - {run_id}:
            self._execute("insert or ignore into uses values (?, ?)", (owner, run_id))

    def _note_old_uses(self) -> None:
        rows = self._read("select run_id, path, body from tasks where json_extract(body, '$.is_cached')", ())
        with self.transaction():
            for run_id, path, body in rows:
                self._note_uses(run_id, record_in(path, body))

    def users_of(self, owner_run_id: str) -> set[str]:
        """Runs whose cached tasks need the artifacts of this one."""
        rows = self._read("select run_id from uses where owner_run_id = ?", (owner_run_id,))
        return {run_id for (run_id,) in rows}

    def remove_uses(self, run_id: str) -> None:
        """The run needs nobody's artifacts any more."""
        self._execute("delete from uses where run_id = ?", (run_id,))

    def records_of(self, run_id: str) -> dict[str, TaskRecord]:
        rows = self._read("select path, body from tasks where run_id = ?", (run_id,))
        return {path: record_in(path, body) for path, body in rows}

    def remove_tasks(self, run_id: str, paths: list[str] | None = None) -> None:
        with self.transaction():
            if paths is None:
                self._execute("delete from tasks where run_id = ?", (run_id,))
                self.remove_uses(run_id)
            for path in paths or []:
                self._execute("delete from tasks where run_id = ? and path = ?", (run_id, path))

    def find_cached(self, scope: str, fingerprint: str) -> Values | None:
        rows = self._read("select body from cache where scope = ? and fingerprint = ?", (scope, fingerprint))
        return outputs_in(rows[0][0]) if rows else None

    def put_cached(self, scope: str, fingerprint: str, outputs: Values) -> None:
        self._execute("insert or replace into cache values (?, ?, ?)", (scope, fingerprint, json_of_model(outputs)))

    def remove_cached_of(self, owner_run_id: str) -> None:
        """Forget results whose artifacts are in the folder of this run."""
        self._execute("delete from cache where instr(body, ?) > 0", (f"/{owner_run_id}/",))

    def request_of(self, run_id: str) -> RunRequest:
        run = self.get("run", run_id)
        return RunRequest(
            run_id=run_id,
            display_name=run["display_name"],
            spec_digest=run["_spec_digest"],
            arguments=run["_arguments"],
            created_at=run["created_at"],
            scheduled_at=run["scheduled_at"],
            is_canceling=run.get("_is_canceling", False),
            pipeline_root=(run.get("runtime_config") or {}).get("pipeline_root") or "",
        )

    def unfinished_runs(self) -> list[str]:
        rows = self._read(f"select id from documents where kind = 'run' and {_UNFINISHED} order by created_at, seq", ())  # noqa: S608
        return [run_id for (run_id,) in rows]

    def set_run_state(self, run_id: str, state: str, *, at: str, error: str = "", finished: bool = False) -> None:
        """Move a run on, and remember when. A run that is gone, or is there already, is left alone."""

        def moved(run: Document) -> Document | None:
            if run.get("state") == state or (state == "RUNNING" and run.get("state") != "PENDING"):
                return None
            history = [*(run.get("state_history") or []), {"update_time": at, "state": state}]
            run |= {"state": state, "state_history": history}
            if finished:
                run["finished_at"] = at
            if error:
                run["error"] = {"code": 13, "message": error, "details": []}
            return run

        try:
            self.change("run", run_id, moved)
        except NotFound:
            return

    def _execute(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self._connection.execute(sql, values)

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._owner == threading.get_ident():
            return self._connection.execute(sql, values).fetchall()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30)
        connection.text_factory = _text_in
        connection.execute(f"pragma mmap_size={_MMAP_BYTES}")
        with self._lock:
            self._connections.append(connection)
        return connection


def _text_in(data: bytes) -> str:
    """What a row holds, also where an earlier release, or a hand, wrote half of a surrogate pair into it."""
    return data.decode(errors="replace")
