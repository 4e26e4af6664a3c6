"""The objects of core/v1 that clients of InferenceServices ask for: namespaces, and events about the services."""

import json
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from embedded.control_plane.kubernetes.errors import GROUP, KIND, VERSION
from embedded.control_plane.kubernetes.journal import Journal
from embedded.control_plane.kubernetes.kinds import EVENTS, NAMESPACES, ObjectKind

_COMPONENT = "inferenceservice-controller"
_NUM_EVENTS_A_SERVICE = 50
_EVENTS_KEPT_FOR = timedelta(hours=1)
"""As long as a Kubernetes API server keeps them."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS core_objects (
    plural TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, object TEXT NOT NULL,
    PRIMARY KEY (plural, namespace, name));
"""


class Told(NamedTuple):
    """What an event tells: Normal or Warning, a word, a sentence."""

    type: str
    reason: str
    message: str


class CoreObjects:
    """Namespaces come into being with the first service in them, or by themselves; they are never deleted."""

    def __init__(self, db: sqlite3.Connection, journal: Journal) -> None:
        self._db = db
        self._journal = journal
        db.executescript(_SCHEMA)
        if self.fetch(NAMESPACES, "", "default") is None:
            self.create_namespace("default")

    def list_objects(self, kind: ObjectKind, namespace: str | None) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT object FROM core_objects WHERE plural = ? AND (? IS NULL OR namespace = ?) "
            "ORDER BY namespace, name",
            (kind.plural, namespace, namespace),
        )
        return [json.loads(row[0]) for row in rows]

    def fetch(self, kind: ObjectKind, namespace: str, name: str) -> dict[str, Any] | None:
        row = self._db.execute(
            "SELECT object FROM core_objects WHERE plural = ? AND namespace = ? AND name = ?",
            (kind.plural, namespace, name),
        ).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, kind: ObjectKind, found: Mapping[str, Any]) -> dict[str, Any]:
        """Add or replace an object; gives it its resource version."""
        before = self.fetch(kind, found["metadata"].get("namespace", ""), found["metadata"]["name"])
        with self._journal.transaction():
            return self._put(kind, found, is_new=before is None)

    def delete(self, kind: ObjectKind, namespace: str, name: str) -> None:
        """Nothing happens when it is gone."""
        found = self.fetch(kind, namespace, name)
        if found is None:
            return
        with self._journal.transaction():
            self._delete(kind, found)

    def create_namespace(self, name: str) -> dict[str, Any]:
        """The namespace, made now unless it was there."""
        if found := self.fetch(NAMESPACES, "", name):
            return found
        now = datetime.now(UTC)
        metadata: dict[str, Any] = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": rfc3339(now)}
        metadata["labels"] = {"kubernetes.io/metadata.name": name}
        namespace = {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        with self._journal.transaction():
            return self._put(NAMESPACES, namespace)

    def record(self, involved: Mapping[str, Any], told: Iterable[Told], *, now: datetime) -> None:
        """Events about an object, given by its metadata. The same again is counted, not repeated."""
        told = tuple(told)
        if not told:
            return
        with self._journal.transaction():
            for each in told:
                self._record(involved, each, now)
            self._forget(involved["uid"], now)

    def _record(self, involved: Mapping[str, Any], told: Told, now: datetime) -> None:
        for event in self._about(involved["uid"]):
            if (event["type"], event["reason"], event["message"]) == told:
                again = {"count": event["count"] + 1, "lastTimestamp": rfc3339(now)}
                self._put(EVENTS, event | again, is_new=False)
                return
        self._put(EVENTS, _event(involved, told, now))

    def _about(self, uid: str) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT object FROM core_objects WHERE plural = 'events' "
            "AND json_extract(object, '$.involvedObject.uid') = ?",
            (uid,),
        )
        return [json.loads(row[0]) for row in rows]

    def _forget(self, uid: str, now: datetime) -> None:
        """Events that are too old, and those of this object that are too many."""
        # Texts of RFC 3339 in whole seconds of UTC sort as times do.
        oldest = rfc3339(now - _EVENTS_KEPT_FOR)
        newest_first = sorted(self._about(uid), key=lambda event: event["lastTimestamp"], reverse=True)
        expired = [event for event in self.list_objects(EVENTS, None) if event["lastTimestamp"] < oldest]
        for event in [*expired, *newest_first[_NUM_EVENTS_A_SERVICE:]]:
            self._delete(EVENTS, event)

    def _delete(self, kind: ObjectKind, found: Mapping[str, Any]) -> None:
        metadata = found["metadata"]
        gone = self._db.execute(
            "DELETE FROM core_objects WHERE plural = ? AND namespace = ? AND name = ?",
            (kind.plural, metadata.get("namespace", ""), metadata["name"]),
        )
        if gone.rowcount:
            version = str(self._journal.next_version())
            deleted = {**found, "metadata": {**metadata, "resourceVersion": version}}
            self._journal.append(kind.plural, "DELETED", deleted)

    def _put(self, kind: ObjectKind, found: Mapping[str, Any], *, is_new: bool = True) -> dict[str, Any]:
        metadata = {**found["metadata"], "resourceVersion": str(self._journal.next_version())}
        stored = {"apiVersion": kind.api_version, "kind": kind.kind, **found, "metadata": metadata}
        key = (kind.plural, metadata.get("namespace", ""), metadata["name"])
        self._db.execute("INSERT OR REPLACE INTO core_objects VALUES (?, ?, ?, ?)", (*key, json.dumps(stored)))
        self._journal.append(kind.plural, "ADDED" if is_new else "MODIFIED", stored)
        return stored


def _event(involved: Mapping[str, Any], told: Told, now: datetime) -> dict[str, Any]:
    name, namespace = involved["name"], involved["namespace"]
    return {
        "metadata": {
            "name": f"{name}.{uuid.uuid4().hex[:16]}",
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": rfc3339(now),
        },
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": name,
            "namespace": namespace,
            "uid": involved["uid"],
        },
        "reason": told.reason,
        "message": told.message,
        "source": {"component": _COMPONENT},
        "firstTimestamp": rfc3339(now),
        "lastTimestamp": rfc3339(now),
        "count": 1,
        "type": told.type,
        "eventTime": None,
        "reportingComponent": _COMPONENT,
        "reportingInstance": "",
    }


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def events_between(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Told]:
    """What a change of an InferenceService's status is worth telling people. Pure.

    The two about readiness are KServe's own, words included (pkg/controller/v1beta1/inferenceservice/controller.go).
    """
    told = []
    old, new = _predictor(before), _predictor(after)
    if (created := new.get("latestCreatedRevision")) and created != old.get("latestCreatedRevision"):
        told.append(Told("Normal", "RevisionCreated", f"Created revision {created}"))
    failed, earlier = (_condition(status, "LatestDeploymentReady") for status in (after, before))
    is_told = (earlier.get("status"), earlier.get("message")) == ("False", failed.get("message"))
    if failed.get("status") == "False" and not is_told:
        # Kubernetes takes 1,024 characters of an event's message.
        told.append(Told("Warning", "RevisionFailed", failed["message"][:1024]))
    if new.get("traffic") and new["traffic"] != old.get("traffic"):
        shares = ", ".join(f"{target['revisionName']} {target['percent']} %" for target in new["traffic"])
        told.append(Told("Normal", "TrafficMoved", f"Traffic: {shares}"))
    was, is_now = (_condition(status, "Ready").get("status") for status in (before, after))
    if is_now == "True" and was != "True":
        told.append(Told("Normal", "InferenceServiceReady", f"InferenceService [{name}] is Ready"))
    if was == "True" and is_now != "True":
        told.append(Told("Warning", "InferenceServiceNotReady", f"InferenceService [{name}] is no longer Ready"))
    return told


def _predictor(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return status.get("components", {}).get("predictor", {})


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((each for each in status.get("conditions", ()) if each["type"] == kind), {})
