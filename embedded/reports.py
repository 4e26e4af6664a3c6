"""What the supervisor wrote down of the stack, and whether the processes that it names still live."""

from pydantic import ValidationError

from embedded.control_plane.host.processes import process_stat
from embedded.layout import Layout
from embedded.services import ProcessName, StackReport


def read_report(layout: Layout) -> StackReport | None:
    """How the stack is doing; None when neither its supervisor nor the keeper that would start one lives."""
    report = recorded_report(layout)
    if report is None:
        return None
    watchers = (each for each in (report.supervisor, report.supervisor.keeper) if each)
    return report if any(is_alive(each) for each in watchers) else None


def read_orphaned_report(layout: Layout) -> StackReport | None:
    """What a supervisor that was killed together with its keeper wrote last, while a server of it still runs."""
    report = recorded_report(layout)
    services = report.services if report else ()
    named = (ProcessName(pid=each.pid, started_at_ticks=each.started_at_ticks or 0) for each in services if each.pid)
    return report if any(map(is_alive, named)) else None


def is_alive(name: ProcessName) -> bool:
    stat = process_stat(name.pid)
    return stat is not None and stat.started_at_ticks == name.started_at_ticks


def recorded_report(layout: Layout) -> StackReport | None:
    """What stack.json says, whether or not it is still true."""
    try:
        return StackReport.model_validate_json(layout.report.read_text())
    except (FileNotFoundError, ValidationError):
        return None
