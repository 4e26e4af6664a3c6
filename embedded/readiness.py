"""Waiting for the servers of a stack that starts, and saying which one does not become ready."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from embedded.control_plane.host.processes import is_port_free
from embedded.layout import Layout
from embedded.reports import read_report
from embedded.services import Service, StackReport
from ratchet.core.errors import RatchetError, Unavailable

READY_WITHIN_S = 120.0
"""A server gets 60 s to be ready, and some begin only when another is."""
_POLL_S = 0.1
OnChange = Callable[[StackReport], None]


class PortTaken(RatchetError):
    """Another program listens where a server of ours should."""


def wait_ready(
    layout: Layout, supervisor: "subprocess.Popen[bytes] | None", on_change: OnChange, services: Sequence[Service] = ()
) -> StackReport:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        report = read_report(layout)
        if report:
            on_change(report)
            if report.is_ready:
                return report
            _check_progress(report, services)
        elif supervisor is None or supervisor.poll() is not None:
            raise Unavailable(f"The supervisor of the stack ended. {_last_words(layout.log_of('supervisor'))}")
        if time.monotonic() > deadline:
            raise Unavailable(_not_ready(report, layout))
        time.sleep(_POLL_S)


def _check_progress(report: StackReport, services: Sequence[Service]) -> None:
    """Raise when waiting longer would not help."""
    ended = {service.name: service for service in report.services if service.state in ("restarting", "failed")}
    for service in services:
        needed = {service.port, *service.other_ports} if service.name in ended else set()
        taken = sorted(port for port in needed if not is_port_free(port))
        if taken:
            raise PortTaken(f"{service.name} needs port {taken[0]}, which another program uses. Run the command again.")
    for failed in ended.values():
        if failed.state == "failed":
            raise Unavailable(f"{failed.name} does not start: {failed.detail}. {_last_words(failed.log)}")


def _not_ready(report: StackReport | None, layout: Layout) -> str:
    late = [service for service in report.services if service.state != "ready"] if report else []
    names = ", ".join(service.name for service in late) or "the supervisor"
    log = late[0].log if late else layout.log_of("supervisor")
    return f"After {READY_WITHIN_S:.0f} s these are not ready: {names}. {_last_words(log)}"


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"See {log}; it ends with: {last}" if last else f"See {log}; it is empty."
