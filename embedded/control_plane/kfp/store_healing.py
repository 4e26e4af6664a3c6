"""Rows of the pipelines' database that no reader could take: written by an earlier release, a task, or by hand.

They are mended at the start, so that lists sort and filter by what they show, and once more whenever they are read.
"""

import logging
import sqlite3
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from embedded.control_plane.engine.records import TaskKind, TaskRecord, TaskState
from embedded.control_plane.engine.values import Values
from embedded.control_plane.sound_json import dumps_sound, is_sound_text, loads_sound

log = logging.getLogger(__name__)

_FIND_SUSPECTS = (
    "select seq, cast(body as blob) from documents "
    "where instr(body, '\\ud') > 0 or instr(body, 'NaN') > 0 or instr(body, 'Infinity') > 0"
)
_NEVER = "1970-01-01T00:00:00.000000Z"
_NEEDED: dict[str, dict[str, Any]] = {
    "run": {
        "display_name": "",
        "state": "FAILED",
        "state_history": [],
        "created_at": _NEVER,
        "scheduled_at": _NEVER,
        "_spec_digest": "",
        "_arguments": {},
    },
    "recurring_run": {
        "display_name": "",
        "status": "DISABLED",
        "trigger": {},
        "created_at": _NEVER,
        "_spec_digest": "",
        "_index": 0,
    },
    "pipeline": {"display_name": "", "created_at": _NEVER},
    "pipeline_version": {"name": "", "pipeline_id": "", "created_at": _NEVER, "_spec_digest": ""},
    "experiment": {"display_name": "", "created_at": _NEVER},
}
_UNREADABLE = "its record in the database cannot be read. Start a new run."


def heal(connection: sqlite3.Connection) -> int:
    """Rewrite documents that hold what JSON has not; the number of them. All or nothing."""
    rows = connection.execute(_FIND_SUSPECTS).fetchall()
    mended = [(text, seq) for seq, body in rows if (text := _mended(body)) is not None]
    if mended:
        connection.execute("begin immediate")
        try:
            connection.executemany("update documents set body = ? where seq = ?", mended)
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            raise
        log.warning("mended %d documents in the database that no list could show", len(mended))
    return len(mended)


def completed(kind: str, document_id: str, body: str) -> dict[str, Any]:
    """A document with everything in it that our code relies on, also where the row lacks it."""
    document = object_in(body)
    needed = {f"{kind}_id": document_id, **_NEEDED.get(kind, {})}
    return document if needed.keys() <= document.keys() else {**needed, **document}


def object_in(body: str) -> dict[str, Any]:
    """A stored object; an empty one when the row holds something else."""
    found = loads_sound(body)
    return found if isinstance(found, dict) else {}


def record_in(path: str, body: str) -> TaskRecord:
    """The record of a task. One that cannot be read is a failed task, which says so: its run goes on without it."""
    try:
        if is_sound_text(body):
            return TaskRecord.model_validate_json(body)
        return TaskRecord.model_validate(loads_sound(body))
    except ValidationError as error:
        log.warning("the record of task %r cannot be read: %s", path, error.errors()[0]["msg"])
    now = datetime.now(UTC)
    name = path.rpartition("/")[2] or "root"
    return TaskRecord(
        path=path,
        name=name,
        display_name=name,
        kind=TaskKind.CONTAINER if path else TaskKind.DAG,
        state=TaskState.FAILED,
        error=_UNREADABLE,
        created_at=now,
        finished_at=now,
    )


def outputs_in(body: str) -> Values | None:
    """What the cache remembers; nothing when that cannot be read."""
    try:
        return Values.model_validate(loads_sound(body))
    except ValidationError:
        return None


def _mended(body: bytes) -> str | None:
    """None when there is nothing to mend."""
    text = body.decode(errors="replace")
    value = loads_sound(text)
    return mended if value is not None and (mended := dumps_sound(value)) != text else None
