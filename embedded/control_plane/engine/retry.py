"""Running a failed run again from its failed tasks: which of its records must be forgotten. Pure."""

from collections.abc import Iterator

from embedded.control_plane.engine.records import ROOT, Records, TaskKind, TaskState, parent_path
from embedded.control_plane.engine.walk import Walk


def paths_to_forget(walk: Walk) -> list[str]:
    """All that did not succeed, and exit tasks: they report how the run ended, and it will end anew.

    What lies in a group that succeeded stays, its skipped branches too.
    """
    return [
        path
        for path, record in walk.records.items()
        if path != ROOT
        and not _is_kept(path, walk.records)
        and (record.state is not TaskState.SUCCEEDED or is_exit_work(walk, path))
    ]


def is_exit_work(walk: Walk, path: str) -> bool:
    """Whether a task is an exit task, or part of one."""
    return any(
        walk.records[ancestor].kind is not TaskKind.ITERATION and walk.task_at(ancestor).is_exit_task
        for ancestor in _with_ancestors(path)
        if ancestor in walk.records
    )


def _is_kept(path: str, records: Records) -> bool:
    ancestors = list(_with_ancestors(path))[1:]
    return any(ancestor in records and records[ancestor].state is TaskState.SUCCEEDED for ancestor in ancestors)


def _with_ancestors(path: str) -> Iterator[str]:
    while path != ROOT:
        yield path
        path = parent_path(path)
