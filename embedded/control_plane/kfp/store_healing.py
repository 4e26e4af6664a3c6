"""Rows of the pipelines' database that no reader could take: written by an earlier release, a task, or by hand.

They are mended at the start, so that lists sort and filter by what they show, and once more whenever they are read.
"""

import logging
import sqlite3
from typing import Any

from embedded.control_plane.engine.stored_rows import object_in
from embedded.control_plane.sound_json import dumps_sound, loads_sound

log = logging.getLogger(__name__)

_FIND_SUSPECTS = (
    "select seq, cast(body as blob) from documents "
    # Half a surrogate pair is escaped as \ud800 to \udfff.
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


def _mended(body: bytes) -> str | None:
    """None when there is nothing to mend."""
    text = body.decode(errors="replace")
    value = loads_sound(text)
    return mended if value is not None and (mended := dumps_sound(value)) != text else None
