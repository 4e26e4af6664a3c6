"""Reading rows of the database, also those that an earlier release, a task or a hand wrote and no reader could take."""

import logging
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from embedded.control_plane.engine.records import TaskKind, TaskRecord, TaskState
from embedded.control_plane.engine.values import Values
from embedded.control_plane.sound_json import is_sound_text, loads_sound

log = logging.getLogger(__name__)
_UNREADABLE = "its record in the database cannot be read. Start a new run."


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
