"""What the engine remembers, in tables of its own: tasks of runs, pipelines, the cache, and who uses whose artifacts.

Runs are documents of the API; the engine asks for what it needs of them by three methods that the API's store has.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from embedded.control_plane.engine.database import Database
from embedded.control_plane.engine.records import RunRequest, TaskRecord
from embedded.control_plane.engine.stored_rows import object_in, outputs_in, record_in
from embedded.control_plane.engine.values import Values, digest_of
from embedded.control_plane.errors import NotFound
from embedded.control_plane.sound_json import dumps_sound, json_of_model

TABLES = (
    "create table if not exists specs (digest text primary key, body text not null)",
    """create table if not exists tasks (
    run_id text not null, path text not null, body text not null, primary key (run_id, path)) without rowid""",
    """create table if not exists cache (
    scope text not null, fingerprint text not null, body text not null, primary key (scope, fingerprint))
    without rowid""",
    """create table if not exists uses (
    owner_run_id text not null, run_id text not null, primary key (owner_run_id, run_id)) without rowid""",
    "create index if not exists uses_by_run on uses (run_id)",
)
_RUN_ID = re.compile(r"(?<=/)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=/)")


class TaskStore(Database, ABC):
    @abstractmethod
    def request_of(self, run_id: str) -> RunRequest:
        """NotFound when there is no such run."""

    @abstractmethod
    def unfinished_runs(self) -> list[str]:
        """Their ids, the oldest first."""

    @abstractmethod
    def set_run_state(self, run_id: str, state: str, *, at: str, error: str = "", finished: bool = False) -> None:
        """Move a run on, and remember when. A run that is gone, or is there already, is left alone."""

    def check_writable(self) -> None:
        """Write something; sqlite3.Error when the disk is full."""
        with self.transaction():
            # A page of SQLite (4,096 bytes): a smaller row may fit into room that the file already has.
            self.execute("insert or replace into cache values ('.probe', '.probe', ?)", (" " * 4096,))
            self.execute("delete from cache where scope = '.probe'", ())

    def put_spec(self, wire: Mapping[str, Any]) -> str:
        """Keep a pipeline once; the digest names it."""
        digest = digest_of(wire)
        self.execute("insert or ignore into specs values (?, ?)", (digest, dumps_sound(wire)))
        return digest

    def get_spec(self, digest: str) -> dict[str, Any]:
        rows = self.read("select body from specs where digest = ?", (digest,))
        if not rows:
            raise NotFound(f"pipeline spec {digest} not found.")
        return object_in(rows[0][0])

    def put_task(self, run_id: str, record: TaskRecord) -> None:
        self.execute("insert or replace into tasks values (?, ?, ?)", (run_id, record.path, json_of_model(record)))
        if record.is_cached:
            self._note_uses(run_id, record)

    def _note_uses(self, run_id: str, record: TaskRecord) -> None:
        """A task that was taken from the cache needs the artifacts of the run that made them."""
        uris = [artifact.uri for artifacts in record.outputs.artifacts.values() for artifact in artifacts]
        for owner in {match[0] for uri in uris for match in _RUN_ID.finditer(uri)} - {run_id}:
            self.execute("insert or ignore into uses values (?, ?)", (owner, run_id))

    def note_old_uses(self) -> None:
        rows = self.read("select run_id, path, body from tasks where json_extract(body, '$.is_cached')", ())
        with self.transaction():
            for run_id, path, body in rows:
                self._note_uses(run_id, record_in(path, body))

    def users_of(self, owner_run_id: str) -> set[str]:
        """Runs whose cached tasks need the artifacts of this one."""
        rows = self.read("select run_id from uses where owner_run_id = ?", (owner_run_id,))
        return {run_id for (run_id,) in rows}

    def remove_uses(self, run_id: str) -> None:
        """The run needs nobody's artifacts any more."""
        self.execute("delete from uses where run_id = ?", (run_id,))

    def records_of(self, run_id: str) -> dict[str, TaskRecord]:
        rows = self.read("select path, body from tasks where run_id = ?", (run_id,))
        return {path: record_in(path, body) for path, body in rows}

    def remove_tasks(self, run_id: str, paths: list[str] | None = None) -> None:
        with self.transaction():
            if paths is None:
                self.execute("delete from tasks where run_id = ?", (run_id,))
                self.remove_uses(run_id)
            for path in paths or []:
                self.execute("delete from tasks where run_id = ? and path = ?", (run_id, path))

    def find_cached(self, scope: str, fingerprint: str) -> Values | None:
        rows = self.read("select body from cache where scope = ? and fingerprint = ?", (scope, fingerprint))
        return outputs_in(rows[0][0]) if rows else None

    def put_cached(self, scope: str, fingerprint: str, outputs: Values) -> None:
        self.execute("insert or replace into cache values (?, ?, ?)", (scope, fingerprint, json_of_model(outputs)))

    def remove_cached_of(self, owner_run_id: str) -> None:
        """Forget results whose artifacts are in the folder of this run."""
        self.execute("delete from cache where instr(body, ?) > 0", (f"/{owner_run_id}/",))
