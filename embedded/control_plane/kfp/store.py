"""The documents of the API (runs, recurring runs, pipelines, experiments), in the file that has the engine's tables."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedded.control_plane.engine.records import RunRequest
from embedded.control_plane.engine.stored_rows import object_in
from embedded.control_plane.engine.task_store import TaskStore
from embedded.control_plane.errors import Conflict, NotFound
from embedded.control_plane.kfp.store_healing import completed, heal
from embedded.control_plane.kfp.store_schema import prepare
from embedded.control_plane.sound_json import dumps_sound

Document = dict[str, Any]
"""What the API shows. Keys that begin with an underscore are ours, and never leave the server."""

_UNFINISHED = "state in ('PENDING', 'RUNNING', 'CANCELING', 'PAUSED')"


class Store(TaskStore):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        is_old = prepare(self._connection)
        heal(self._connection)
        if is_old:
            self.note_old_uses()

    def add(self, kind: str, document_id: str, document: Document) -> None:
        """Conflict when the id is taken."""
        try:
            self.execute(
                "insert into documents (kind, id, created_at, body) values (?, ?, ?, ?)",
                (kind, document_id, document["created_at"], dumps_sound(document)),
            )
        except sqlite3.IntegrityError:
            raise Conflict(f"{kind} {document_id} exists already. Use another id.") from None

    def get(self, kind: str, document_id: str) -> Document:
        """NotFound when there is none."""
        rows = self.read("select id, body from documents where kind = ? and id = ?", (kind, document_id))
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
            self.execute(
                "update documents set body = ? where kind = ? and id = ?", (dumps_sound(changed), kind, document_id)
            )
            return changed

    def remove(self, kind: str, document_id: str) -> None:
        with self.transaction():
            self.get(kind, document_id)
            self.execute("delete from documents where kind = ? and id = ?", (kind, document_id))

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
        return [completed(kind, *row) for row in self.read(sql, (kind, *values, limit))]

    def page(
        self, kind: str, *, where: str, values: tuple[Any, ...], column: str, direction: str, limit: int
    ) -> list[tuple[Document, str, int]]:
        """Documents sorted by one column, each with that column and its number; the two are its place in the order."""
        order_by = f"{column} {direction}, seq {direction}"
        sql = f"select id, body, {column}, seq from documents where kind = ? and {where} order by {order_by} limit ?"  # noqa: S608
        rows = self.read(sql, (kind, *values, limit))
        return [(completed(kind, document_id, body), key, seq) for document_id, body, key, seq in rows]

    def count(self, kind: str, *, where: str = "1", values: tuple[Any, ...] = ()) -> int:
        sql = f"select count(*) from documents where kind = ? and {where}"  # noqa: S608 - as in select()
        return int(self.read(sql, (kind, *values))[0][0])

    def with_spec(self, shown: Document, document: Document) -> Document:
        """`shown` with the pipeline of a document; without, where the database has lost it."""
        rows = self.read("select body from specs where digest = ?", (str(document.get("_spec_digest")),))
        return {**shown, "pipeline_spec": object_in(rows[0][0])} if rows else shown

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
        rows = self.read(f"select id from documents where kind = 'run' and {_UNFINISHED} order by created_at, seq", ())  # noqa: S608
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
