"""How a run is shown: a tree of tasks, live on a terminal, a line a change in a log."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.output import stderr
from cli.runs.training import TrainingWatch, training_words
from ratchet.core.errors import Unavailable
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.core.ports import Pipelines, RunState, RunTask

POLL_S = 0.5
_TOLD_AGAIN_S = 10.0
"""Lines of a log about one training are as far apart."""
_ERROR_LENGTH = 240
_STYLE_OF = {"SUCCEEDED": "green", "FAILED": "bold red", "RUNNING": "cyan", "CANCELED": "yellow", "SKIPPED": "dim"}


def watch(pipelines: Pipelines, run_id: str, *, timeout_s: float) -> RunState:
    """Show a run on stderr until it has ended; Unavailable when it takes longer than `timeout_s`."""
    if stderr.is_terminal:
        with Live(console=stderr, refresh_per_second=4, transient=False) as live:
            return _follow(pipelines, run_id, timeout_s=timeout_s, show=_LiveView(live))
    return _follow(pipelines, run_id, timeout_s=timeout_s, show=_LineView())


def depth_of(task: RunTask, tasks: Sequence[RunTask]) -> int:
    """How many groups it is in."""
    parent_of = {each.task_id: each.parent_id for each in tasks}
    depth, parent = 0, task.parent_id
    while parent in parent_of and depth < len(tasks):
        depth, parent = depth + 1, parent_of[parent]
    return depth


def tree_order(tasks: Sequence[RunTask]) -> list[RunTask]:
    """Each task right after the group that it is in, in the order in which they started."""
    known = {task.task_id for task in tasks}
    children: dict[str, list[RunTask]] = {}
    for task in tasks:
        children.setdefault(task.parent_id if task.parent_id in known - {task.task_id} else "", []).append(task)
    ordered: list[RunTask] = []

    def add(parent_id: str) -> None:
        for task in children.pop(parent_id, []):
            ordered.append(task)
            add(task.task_id)

    add("")
    return ordered


def row_of(task: RunTask, tasks: Sequence[RunTask], *, now: datetime) -> dict[str, Any]:
    """One task for `--json`, with how deep it is in the tree."""
    return {
        **task.model_dump(mode="json"),
        "depth": depth_of(task, tasks),
        "duration_s": duration_s_of(task, now=now),
    }


def duration_s_of(item: RunTask | RunState, *, now: datetime) -> float | None:
    started_at = item.started_at if isinstance(item, RunTask) else item.created_at
    if started_at is None:
        return None
    # A run that began during the look has no negative age.
    return max(0.0, round(((item.finished_at or now) - started_at).total_seconds(), 1))


def tree_of(
    run: RunState, tasks: Sequence[RunTask], *, now: datetime, training: TrainingProgress | None = None
) -> Group:
    """The run, its tasks and how far its training is, for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("task", "state", "time", "error"):
        table.add_column(name)
    for task in tree_order(tasks):
        seconds = duration_s_of(task, now=now)
        table.add_row(
            "  " * depth_of(task, tasks) + task.name,
            Text(task.state, style=_STYLE_OF.get(task.state, "")),
            "" if seconds is None else f"{seconds:.1f} s",
            Text(short_error(task.error)),
        )
    head = Text.assemble(run.name, "  ", (run.state, _STYLE_OF.get(run.state, "")), "  ", run.run_id)
    error = [Text(run.error, style="red")] if run.error else []
    told = [Text(training_words(training), style="cyan")] if training else []
    return Group(head, *error, table, *told)


def short_error(error: str) -> str:
    """One line: the first, or, of a stack trace, the last, which says what went wrong."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    if not lines:
        return ""
    is_stack = any(line.startswith("Traceback") for line in lines)
    return lines[-1 if is_stack else 0][:_ERROR_LENGTH]


class _LiveView:
    def __init__(self, live: Live) -> None:
        self._live = live

    def __call__(self, run: RunState, tasks: Sequence[RunTask], training: TrainingProgress | None) -> None:
        self._live.update(tree_of(run, tasks, now=datetime.now(UTC), training=training))


class _LineView:
    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._training: TrainingProgress | None = None
        self._told_at_s = 0.0

    def __call__(self, run: RunState, tasks: Sequence[RunTask], training: TrainingProgress | None) -> None:
        now = datetime.now(UTC)
        items: list[RunTask | RunState] = [*tasks, run]
        for item in items:
            key = item.task_id if isinstance(item, RunTask) else item.run_id
            if self._shown.get(key) == item.state:
                continue
            self._shown[key] = item.state
            seconds = duration_s_of(item, now=now)
            took = f" after {seconds:.1f} s" if item.finished_at and seconds is not None else ""
            error = f": {short_error(item.error)}" if item.error else ""
            stderr.print(f"{now:%H:%M:%S} {item.name} {item.state}{took}{error}", markup=False)
        if training is not None and self._is_news(training):
            self._training, self._told_at_s = training, time.monotonic()
            stderr.print(f"{now:%H:%M:%S} {training_words(training)}", markup=False)

    def _is_news(self, training: TrainingProgress) -> bool:
        is_soon = time.monotonic() - self._told_at_s < _TOLD_AGAIN_S
        return self._training is None or (training != self._training and not is_soon)


def _follow(pipelines: Pipelines, run_id: str, *, timeout_s: float, show: "_LiveView | _LineView") -> RunState:
    deadline, trained = time.monotonic() + timeout_s, TrainingWatch.of_run(run_id)
    while True:
        run = pipelines.fetch_run(run_id)
        tasks = pipelines.fetch_tasks(run_id)
        show(run, tasks, trained.look(tasks))
        if run.is_finished:
            return run
        if time.monotonic() > deadline:
            raise Unavailable(
                f"Run {run.name} is still {run.state} after {timeout_s:.0f} s, and continues. "
                f"Follow it with `ratchet runs watch {run_id}`, or end it with `ratchet runs terminate {run_id}`."
            )
        time.sleep(POLL_S)
