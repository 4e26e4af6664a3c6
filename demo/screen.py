"""The demo on screen: a live table on a terminal, plain lines in a log."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from demo.observe import RunView, TaskView

_MARKS = {
    "SUCCEEDED": ("✓", "green"),
    "FAILED": ("✗", "red"),
    "RUNNING": ("●", "yellow"),
    "PENDING": ("·", "dim"),
    "SKIPPED": ("–", "dim"),
}
_GROUPS = frozenset({"retrain", "run-is-current", "data-accepted", "challenger-passed", "not-promoted"})
"""Tasks of the pipeline that only hold others."""


class Screen:
    """One place that prints. What passes stays above; the table of what runs now is redrawn below."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._told: set[tuple[str, str, str]] = set()

    def say(self, text: str, *, style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def begin_act(self, letter: str, title: str) -> None:
        self._console.print()
        self._console.print(Text(f"Act {letter}  {title}", style="bold"))

    def show_check(self, passed: bool, text: str) -> None:
        mark, style = ("✓", "green") if passed else ("✗", "bold red")
        self._console.print(Text(f"  {mark} ", style=style).append(text, style="default"))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While inside, `show` redraws a table on a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, transient=True, refresh_per_second=4) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def leave(self, run: RunView) -> None:
        """What a finished run did stays on the screen."""
        self._tell_changes(run)

    def show(self, run: RunView | None, traffic: str) -> None:
        """What runs now and how the users fare."""
        if self._live is not None:
            self._live.update(Group(_table_of(run), Text(f"  {traffic}", style="dim")))
        elif run is not None:
            self._tell_changes(run)

    def _tell_changes(self, run: RunView) -> None:
        for task in _steps_of(run):
            key = (run.run_id, task.name, task.state)
            if key not in self._told and task.state not in {"PENDING", "RUNNING"}:
                self._told.add(key)
                self.say(f"  {_marked(task)}")


def _table_of(run: RunView | None) -> Padding | Text:
    if run is None:
        return Text("  waiting for the sensor …", style="dim")
    table = Table(box=None, show_header=False, pad_edge=False)
    for task in _steps_of(run):
        _, style = _MARKS.get(task.state, ("?", ""))
        table.add_row(Text(_marked(task), style=style))
    return Padding(table, (0, 0, 0, 2))


def _steps_of(run: RunView) -> list[TaskView]:
    return [task for task in run.tasks if task.name not in _GROUPS]


def _marked(task: TaskView) -> str:
    mark, _ = _MARKS.get(task.state, ("?", ""))
    duration = "" if task.duration_s is None else f"{task.duration_s:.1f} s"
    return f"{mark} {task.name:<14} {task.state.lower():<10} {duration}"
