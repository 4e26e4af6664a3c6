"""Logs of the tasks of a run: all that there is, or line by line as it comes."""

import time
from collections.abc import Sequence

import typer

from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.ports import Pipelines, RunState, RunTask

POLL_S = 0.5


def chosen_tasks(pipelines: Pipelines, run: RunState, task: str | None) -> Sequence[RunTask]:
    """By name or id; NotFound names the existing ones."""
    tasks = pipelines.fetch_tasks(run.run_id)
    wanted = [each for each in tasks if task in (None, each.name, each.task_id)]
    if task is not None and not wanted:
        raise NotFound(
            f"Run {run.name} has no task {task!r}; it has {', '.join(each.name for each in tasks) or 'none'}."
        )
    return wanted


def logs_of(pipelines: Pipelines, run: RunState, *, task: str | None) -> list[tuple[RunTask, str]]:
    """Tasks that have a log, with it. NotFound when the only task that is asked for has none."""
    found = []
    for each in chosen_tasks(pipelines, run, task):
        try:
            text = pipelines.fetch_log(run.run_id, each)
        except NotFound:
            if task is not None:
                raise
            continue
        if text:
            found.append((each, text))
    return found


def follow_logs(pipelines: Pipelines, run_id: str, *, task: str | None, timeout_s: float) -> None:
    """Print what is new until the run is over, each line with the name of its task unless there is but one."""
    deadline = time.monotonic() + timeout_s
    shown: dict[str, str] = {}
    while True:
        run = pipelines.fetch_run(run_id)
        _print_news(pipelines, run, task=task, shown=shown)
        if run.is_finished:
            # NotFound for a name that no task of the whole run has: tasks appear one by one.
            if task is not None:
                chosen_tasks(pipelines, run, task)
            return
        if time.monotonic() > deadline:
            raise Unavailable(f"Run {run.name} is still {run.state} after {timeout_s:.0f} s, and continues.")
        time.sleep(POLL_S)


def _print_news(pipelines: Pipelines, run: RunState, *, task: str | None, shown: dict[str, str]) -> None:
    for each in pipelines.fetch_tasks(run.run_id):
        if task not in (None, each.name, each.task_id):
            continue
        try:
            text = pipelines.fetch_log(run.run_id, each)
        except NotFound:
            continue
        # The last line may be half written while its task runs.
        whole = text if run.is_finished else text[: text.rfind("\n") + 1]
        for line in news_in(whole, seen=shown.get(each.task_id, "")).splitlines():
            typer.echo(line if task else f"{each.name} | {line}")
        shown[each.task_id] = whole


def news_in(text: str, *, seen: str) -> str:
    """What of a log is new. Where the middle of a long log was cut out meanwhile, it is what follows the last seen."""
    if text.startswith(seen):
        return text[len(seen) :]
    last_lines = seen[-400:]
    found = text.rfind(last_lines)
    return text if found < 0 else text[found + len(last_lines) :]
