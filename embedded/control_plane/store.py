"""All state of the pipelines' side, in one SQLite file: documents of the API, pipelines, tasks of runs, the cache.

Write-ahead log: readers never wait, and a killed process loses nothing that was committed. One connection behind one
lock; a transaction takes well under a millisecond.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedded.control_plane.engine.records import RunRequest, TaskRecord
from embedded.control_plane.engine.values import Values, digest_of
from ratchet.core.errors import Conflict, NotFound

Document = dict[str, Any]
"""What the API shows. Keys that begin with an underscore are ours, and never leave the server."""

_SCHEMA = """
create table if not exists documents (
    kind text not null, id text not null, created_at text not null, body text not null, primary key (kind, id));
create index if not exists documents_by_time on documents (kind, created_at);
create table if not exists specs (digest text primary key, body text not null);
create table if not exists tasks (
    run_id text not null, path text not null, body text not null, primary key (run_id, path)) without rowid;
create table if not exists cache (
    scope text not null, fingerprint text not null, body text not null, primary key (scope, fingerprint)) without rowid;
"""


class Store:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=normal")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. May be nested: the outermost one commits."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("begin immediate")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("rollback")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("commit")

    def add(self, kind: str, document_id: str, document: Document) -> None:
        """Conflict when the id is taken."""
        try:
            self._execute(
                "insert into documents values (?, ?, ?, ?)",
                (kind, document_id, document["created_at"], json.dumps(document)),
            )
        except sqlite3.IntegrityError:
            raise Conflict(f"{kind} {document_id} exists already. Use another id.") from None

    def get(self, kind: str, document_id: str) -> Document:
        """NotFound when there is none."""
        rows = self._execute("select body from documents where kind = ? and id = ?", (kind, document_id))
        if not rows:
            raise NotFound(f"{kind} {document_id!r} not found. List them to see which there are.")
        return json.loads(rows[0][0])

    def change(self, kind: str, document_id: str, change: Callable[[Document], Document | None]) -> Document:
        """Read, change and write as one; `change` returns None to leave it as it is."""
        with self.transaction():
            document = self.get(kind, document_id)
            changed = change(dict(document))
            if changed is None:
                return document
            self._execute(
                "update documents set body = ? where kind = ? and id = ?", (json.dumps(changed), kind, document_id)
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
        order_by: str = "created_at, rowid",
        limit: int = -1,
        offset: int = 0,
    ) -> list[Document]:
        """Documents by an SQL condition over `body`. Only code of ours writes `where` and `order_by`."""
        sql = f"select body from documents where kind = ? and {where} order by {order_by} limit ? offset ?"  # noqa: S608
        return [json.loads(row[0]) for row in self._execute(sql, (kind, *values, limit, offset))]

    def count(self, kind: str, *, where: str = "1", values: tuple[Any, ...] = ()) -> int:
        sql = f"select count(*) from documents where kind = ? and {where}"  # noqa: S608 - as in select()
        return int(self._execute(sql, (kind, *values))[0][0])

    def put_spec(self, wire: Mapping[str, Any]) -> str:
        """Keep a pipeline once; the digest names it."""
        digest = digest_of(wire)
        self._execute("insert or ignore into specs values (?, ?)", (digest, json.dumps(wire)))
        return digest

    def get_spec(self, digest: str) -> dict[str, Any]:
        rows = self._execute("select body from specs where digest = ?", (digest,))
        if not rows:
            raise NotFound(f"pipeline spec {digest} not found.")
        return json.loads(rows[0][0])

    def put_task(self, run_id: str, record: TaskRecord) -> None:
        self._execute("insert or replace into tasks values (?, ?, ?)", (run_id, record.path, record.model_dump_json()))

    def records_of(self, run_id: str) -> dict[str, TaskRecord]:
        rows = self._execute("select path, body from tasks where run_id = ?", (run_id,))
        return {path: TaskRecord.model_validate_json(body) for path, body in rows}

    def remove_tasks(self, run_id: str, paths: list[str] | None = None) -> None:
        with self.transaction():
            if paths is None:
                self._execute("delete from tasks where run_id = ?", (run_id,))
            for path in paths or []:
                self._execute("delete from tasks where run_id = ? and path = ?", (run_id, path))

    def find_cached(self, scope: str, fingerprint: str) -> Values | None:
        rows = self._execute("select body from cache where scope = ? and fingerprint = ?", (scope, fingerprint))
        return Values.model_validate_json(rows[0][0]) if rows else None

    def put_cached(self, scope: str, fingerprint: str, outputs: Values) -> None:
        self._execute("insert or replace into cache values (?, ?, ?)", (scope, fingerprint, outputs.model_dump_json()))

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
        )

    def unfinished_runs(self) -> list[str]:
        where = "json_extract(body, '$.state') in ('PENDING', 'RUNNING', 'CANCELING')"
        return [run["run_id"] for run in self.select("run", where=where)]

    def set_run_state(self, run_id: str, state: str, *, at: str, error: str = "", finished: bool = False) -> None:
        """Move a run on, and remember when. A run that is gone, or is there already, is left alone."""

        def moved(run: Document) -> Document | None:
            if run["state"] == state or (state == "RUNNING" and run["state"] != "PENDING"):
                return None
            history = [*run["state_history"], {"update_time": at, "state": state}]
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

    def _execute(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()
