"""What the serving side must remember, in SQLite: the InferenceServices, their revisions, and who has the traffic."""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from embedded.control_plane.kserve.predictor import ProcessTemplate
from embedded.control_plane.kserve.revisions import Rollout, TrafficTarget
from embedded.control_plane.kubernetes.core import CoreObjects
from embedded.control_plane.kubernetes.errors import GROUP, KIND, PLURAL, VERSION
from embedded.control_plane.kubernetes.journal import Journal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS services (
    uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, resource_version INTEGER NOT NULL,
    object TEXT NOT NULL, status TEXT NOT NULL, rollout TEXT NOT NULL, routed TEXT NOT NULL,
    UNIQUE (namespace, name));
CREATE TABLE IF NOT EXISTS revisions (
    service_uid TEXT NOT NULL REFERENCES services (uid) ON DELETE CASCADE, name TEXT NOT NULL,
    manifest TEXT NOT NULL, process TEXT NOT NULL, port INTEGER NOT NULL, model_dir TEXT NOT NULL,
    PRIMARY KEY (service_uid, name));
"""
_TARGETS = TypeAdapter(tuple[TrafficTarget, ...])


class ServiceRow(BaseModel):
    """One InferenceService: what its author wrote (`manifest`: metadata and spec), and what became of it."""

    model_config = ConfigDict(frozen=True)

    uid: str
    namespace: str
    name: str
    resource_version: int
    manifest: dict[str, Any]
    status: dict[str, Any]
    rollout: Rollout
    routed: tuple[TrafficTarget, ...]
    """The traffic that flows, as against the traffic that `rollout` asks for."""


class RevisionRow(BaseModel):
    """One revision, immutable but for where it ran last."""

    model_config = ConfigDict(frozen=True)

    service_uid: str
    name: str
    manifest: dict[str, Any]
    """The predictor that it was made from, without its share of traffic."""
    process: ProcessTemplate
    port: int = 0
    model_dir: str = ""


class ServingStore:
    """One connection, used by one thread at a time: the event loop's. Every change is durable when the call returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON;" + _SCHEMA)
        self.journal = Journal(self._db)
        self.core = CoreObjects(self._db, self.journal)

    def close(self) -> None:
        self._db.close()

    def list_services(self) -> list[ServiceRow]:
        return [_service_of(row) for row in self._db.execute("SELECT * FROM services ORDER BY namespace, name")]

    def fetch_service(self, namespace: str, name: str) -> ServiceRow | None:
        row = self._db.execute("SELECT * FROM services WHERE namespace = ? AND name = ?", (namespace, name)).fetchone()
        return _service_of(row) if row else None

    def list_revisions(self, service_uid: str) -> list[RevisionRow]:
        """Oldest first."""
        # Names end in five digits, so they sort by age.
        rows = self._db.execute("SELECT * FROM revisions WHERE service_uid = ? ORDER BY name", (service_uid,))
        return [_revision_of(row) for row in rows]

    def put_service(self, service: ServiceRow, new_revision: RevisionRow | None) -> ServiceRow:
        """Add or replace a service, and its new revision with it, in one transaction; gives it its resource version."""
        before = self._fetch_by_uid(service.uid)
        with self.journal.transaction():
            stored = service.model_copy(update={"resource_version": self.journal.next_version()})
            self._db.execute(
                "INSERT INTO services VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO UPDATE SET "
                "resource_version = excluded.resource_version, object = excluded.object, status = excluded.status, "
                "rollout = excluded.rollout, routed = excluded.routed",
                _columns_of(stored),
            )
            self._append("MODIFIED" if before else "ADDED", stored, before)
            if new_revision:
                self._db.execute(
                    "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        *(new_revision.service_uid, new_revision.name, json.dumps(new_revision.manifest)),
                        *(new_revision.process.model_dump_json(), new_revision.port, new_revision.model_dir),
                    ),
                )
        return stored

    def put_progress(
        self, uid: str, *, rollout: Rollout, routed: Iterable[TrafficTarget], status: dict[str, Any]
    ) -> None:
        """What the reconciler found out. Nothing happens when the service has been deleted meanwhile."""
        before = self._fetch_by_uid(uid)
        if before is None:
            return
        with self.journal.transaction():
            progress = {"rollout": rollout, "routed": tuple(routed), "status": status}
            after = before.model_copy(update={**progress, "resource_version": self.journal.next_version()})
            self._db.execute(
                "UPDATE services SET rollout = ?, routed = ?, status = ?, resource_version = ? WHERE uid = ?",
                (
                    *(rollout.model_dump_json(), _TARGETS.dump_json(after.routed).decode()),
                    *(json.dumps(status), after.resource_version, uid),
                ),
            )
            self._append("MODIFIED", after, before)

    def put_place(self, service_uid: str, revision: str, *, port: int, model_dir: str) -> None:
        """Where a revision runs: a restarted one prefers the same port, which the gateway knows, and the same files."""
        self._db.execute(
            "UPDATE revisions SET port = ?, model_dir = ? WHERE service_uid = ? AND name = ?",
            (port, model_dir, service_uid, revision),
        )

    def delete_service(self, uid: str) -> None:
        """With its revisions. Nothing happens when it is gone."""
        before = self._fetch_by_uid(uid)
        if before is None:
            return
        with self.journal.transaction():
            gone = before.model_copy(update={"resource_version": self.journal.next_version()})
            self._db.execute("DELETE FROM services WHERE uid = ?", (uid,))
            self._append("DELETED", gone, before)

    def delete_revisions(self, service_uid: str, names: Iterable[str]) -> None:
        self._db.executemany(
            "DELETE FROM revisions WHERE service_uid = ? AND name = ?", [(service_uid, name) for name in names]
        )

    def _fetch_by_uid(self, uid: str) -> ServiceRow | None:
        row = self._db.execute("SELECT * FROM services WHERE uid = ?", (uid,)).fetchone()
        return _service_of(row) if row else None

    def _append(self, kind: str, row: ServiceRow, before: ServiceRow | None) -> None:
        labels = (before.manifest["metadata"].get("labels") or {}) if before else None
        self.journal.append(PLURAL, kind, object_of(row), labels_before=labels)


def object_of(row: ServiceRow) -> dict[str, Any]:
    """As the API shows it. One that is not stored, of a dry run, has no version."""
    version = {"resourceVersion": str(row.resource_version)} if row.resource_version else {}
    metadata = {**row.manifest["metadata"], **version}
    shown = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata, "spec": row.manifest["spec"]}
    return {**shown, "status": row.status} if row.status else shown


def _columns_of(service: ServiceRow) -> tuple[Any, ...]:
    return (
        *(service.uid, service.namespace, service.name, service.resource_version, json.dumps(service.manifest)),
        *(json.dumps(service.status), service.rollout.model_dump_json()),
        _TARGETS.dump_json(service.routed).decode(),
    )


def _service_of(row: sqlite3.Row) -> ServiceRow:
    return ServiceRow(
        uid=row["uid"],
        namespace=row["namespace"],
        name=row["name"],
        resource_version=row["resource_version"],
        manifest=json.loads(row["object"]),
        status=json.loads(row["status"]),
        rollout=Rollout.model_validate_json(row["rollout"]),
        routed=_TARGETS.validate_json(row["routed"]),
    )


def _revision_of(row: sqlite3.Row) -> RevisionRow:
    return RevisionRow(
        service_uid=row["service_uid"],
        name=row["name"],
        manifest=json.loads(row["manifest"]),
        process=ProcessTemplate.model_validate_json(row["process"]),
        port=row["port"],
        model_dir=row["model_dir"],
    )
