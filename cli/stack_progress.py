"""The servers as they come up: a live table on a terminal, one line a change in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from embedded.services import ServiceReport, StackReport

OnChange = Callable[["StackReport"], None]
_MARKS = {"ready": ("✓", "green"), "failed": ("✗", "bold red"), "waiting": ("·", "dim"), "stopped": ("·", "dim")}


@contextmanager
def show_progress(console: Console) -> Iterator[OnChange]:
    """Gives the function to call with each report; quiet when every server is ready at the first look."""
    if not console.is_terminal:
        yield _line_by_line(console)
        return
    with Live(console=console, refresh_per_second=12) as live:
        is_first = True
        spinners: dict[str, Spinner] = {}

        def show(report: "StackReport") -> None:
            nonlocal is_first
            if not (is_first and report.is_ready):
                live.update(_table_of(report, spinners))
            is_first = False

        yield show


def text_of(service: "ServiceReport") -> str:
    """What people read about one server."""
    if service.state == "ready":
        return f"ready after {service.ready_after_s:.1f} s" if service.ready_after_s is not None else "ready"
    return f"{service.state}: {service.detail}" if service.detail else service.state


def _table_of(report: "StackReport", spinners: dict[str, Spinner]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for service in report.services:
        style = _MARKS.get(service.state, ("", "yellow"))[1]
        mark: RenderableType = (
            Text(_MARKS[service.state][0], style=style)
            if service.state in _MARKS
            else spinners.setdefault(service.name, Spinner("dots", style=style))
        )
        table.add_row(mark, service.name, Text(text_of(service), style=style))
    return table


def _line_by_line(console: Console) -> OnChange:
    said: dict[str, str] = {}

    def show(report: "StackReport") -> None:
        is_news = bool(said) or not report.is_ready
        for service in report.services:
            text = text_of(service)
            if is_news and text != said.get(service.name) and service.state != "waiting":
                console.print(f"{service.name}: {text}", markup=False)
            said[service.name] = text

    return show
