"""Documents as the KFP API shows them, and the times in them."""

import uuid
from datetime import UTC, datetime
from typing import Any

from embedded.control_plane.engine.records import ROOT, Records, TaskRecord, TaskState, parent_path
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.store import Document
from wire.printable import printable

FINAL_STATES = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_INTERNAL_CODE = 13  # of gRPC
_MAX_NAME = 255


def now_text() -> str:
    return time_text(datetime.now(UTC))


def time_text(at: datetime) -> str:
    """RFC 3339 in UTC, always with microseconds, so that texts sort as times do."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def parse_time(text: str) -> datetime:
    """In UTC. DataRejected for what is no time, or beyond the years 1 to 9999 there."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        found = printable(text, chars_max=60)
        raise DataRejected(f"'{found}' is not an RFC 3339 time, such as 2026-01-31T09:00:00Z.") from None


def new_id() -> str:
    return str(uuid.uuid4())


def show(document: Document) -> Document:
    """Without what is ours alone."""
    return {key: value for key, value in document.items() if not key.startswith("_") and value is not None}


def name_in(body: Document, *, what: str) -> str:
    """The display name in a request; DataRejected when there is none."""
    name = body.get("display_name") or body.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > _MAX_NAME:
        raise DataRejected(f"{what} needs a display_name of 1 to {_MAX_NAME} characters.")
    return name


def task_details(run_id: str, records: Records) -> list[dict[str, Any]]:
    """The tasks of a run in the order in which they came up; the outermost DAG is the run itself and left out."""
    shown = [record for path, record in records.items() if path != ROOT]
    shown.sort(key=lambda record: (record.created_at, record.path))
    return [_task_detail(run_id, record) for record in shown]


def _task_detail(run_id: str, record: TaskRecord) -> dict[str, Any]:
    is_error = record.state in (TaskState.FAILED, TaskState.CANCELED)
    detail = {
        "run_id": run_id,
        "task_id": record.path,
        "display_name": record.display_name,
        "create_time": _optional_time(record.created_at),
        "start_time": _optional_time(record.started_at),
        "end_time": _optional_time(record.finished_at),
        "state": record.state.value,
        "error": {"code": _INTERNAL_CODE, "message": record.error, "details": []} if is_error else None,
        "parent_task_id": parent_path(record.path) or None,
        "task_name": record.name,
        "kind": record.kind.value,
        "attempt": record.attempt,
        "is_cached": record.is_cached,
        "reason": record.error if not is_error and record.error else None,
        "image_note": record.image_note or None,
        "output_parameters": record.outputs.parameters,
    }
    return {key: value for key, value in detail.items() if value is not None}


def _optional_time(at: datetime | None) -> str | None:
    return time_text(at) if at else None
