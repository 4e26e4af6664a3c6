"""How the stack is doing now: what the supervisor wrote down, checked against the living servers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.host.processes import ProcessStat, family_of, list_processes
from embedded.layout import Layout
from embedded.leftovers import list_stack_processes
from embedded.probes import why_not_ready
from embedded.reports import is_alive, read_orphaned_report, read_report
from embedded.services import ServiceReport, SupervisorReport

_PROBE_S = 3.0
_MIB = 1024 * 1024


class ServiceStatus(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    state: str
    """A supervisor's state, or "unresponsive": the process lives, and does not answer."""
    pid: int | None
    port: int
    restarts: int
    num_processes: int
    rss_mib: int
    """Resident memory of the server and all below it. Pages that they share count each time."""
    log: Path
    detail: str


class StackStatus(BaseModel):
    model_config = ConfigDict(frozen=True)

    endpoints: dict[str, str]
    services: tuple[ServiceStatus, ...]
    supervisor_pid: int
    supervisor_problem: str = ""
    """Why nobody restarts what ends; "" while the supervisor and its keeper live."""
    supervisor_restarts: int = 0
    rss_mib: int
    """Of all servers, and of the processes that keep them."""

    @property
    def is_ready(self) -> bool:
        return not self.supervisor_problem and all(service.state == "ready" for service in self.services)


def look_at_stack(layout: Layout) -> StackStatus | None:
    """None when it does not run."""
    report = read_report(layout) or read_orphaned_report(layout)
    if report is None:
        return None
    processes = list(list_processes())
    with ThreadPoolExecutor() as pool:
        services = tuple(pool.map(lambda service: _status_of(service, processes), report.services))
    return StackStatus(
        endpoints=report.endpoints,
        services=services,
        supervisor_pid=report.supervisor.pid,
        supervisor_problem=_problem_of(report.supervisor),
        supervisor_restarts=report.supervisor.restarts,
        rss_mib=_resident_mib(list_stack_processes(report.stack_id, report)),
    )


def _problem_of(supervisor: SupervisorReport) -> str:
    if is_alive(supervisor):
        return ""
    if supervisor.keeper and is_alive(supervisor.keeper):
        return "the supervisor was killed and is being restarted; the servers go on"
    return "the supervisor and its keeper were killed; the servers go on, and `ratchet up` adopts them"


def _status_of(report: ServiceReport, processes: list[ProcessStat]) -> ServiceStatus:
    problem = why_not_ready(report.ready, timeout_s=_PROBE_S) if report.state == "ready" else ""
    family = family_of(report.pid, processes) if report.pid else []
    return ServiceStatus(
        name=report.name,
        state="unresponsive" if problem else report.state,
        pid=report.pid,
        port=report.port,
        restarts=report.restarts,
        num_processes=len(family),
        rss_mib=_resident_mib(family),
        log=report.log,
        detail=problem or report.detail,
    )


def _resident_mib(family: list[ProcessStat]) -> int:
    return sum(stat.resident_bytes for stat in family) // _MIB
