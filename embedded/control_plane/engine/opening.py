"""The record of a task, or of a run, at the moment when it begins."""

from datetime import UTC, datetime

from embedded.control_plane.engine.records import ROOT, RunRequest, TaskKind, TaskRecord, TaskState
from embedded.control_plane.engine.values import Values
from embedded.control_plane.engine.walk import Begin


def record_of(begin: Begin) -> TaskRecord:
    now = datetime.now(UTC)
    return TaskRecord(
        path=begin.path,
        name=begin.name,
        display_name=begin.display_name,
        kind=begin.kind,
        state=TaskState.PENDING if begin.kind.is_leaf else TaskState.RUNNING,
        inputs=begin.inputs,
        num_items=begin.num_items,
        created_at=now,
        started_at=None if begin.kind.is_leaf else now,
    )


def root_record(request: RunRequest) -> TaskRecord:
    return TaskRecord(
        path=ROOT,
        name="root",
        display_name=request.display_name,
        kind=TaskKind.DAG,
        state=TaskState.RUNNING,
        inputs=Values(parameters=request.arguments),
        created_at=request.created_at,
        started_at=datetime.now(UTC),
    )
