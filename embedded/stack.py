"""Start the embedded stack, and stop it. One folder holds one stack; two folders, two stacks."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict

from embedded import object_store
from embedded.adopted import SERVICE_VARIABLE, environment_of
from embedded.control_plane.host.processes import process_stat, tethered
from embedded.credentials import load_or_make_credentials
from embedded.gateway_access import check_access
from embedded.keeping import SUPERVISOR, start_keeper, start_with_plan
from embedded.layout import (
    Layout,
    make_private_dir,
    remove_half_written,
    remove_socket_dir,
)
from embedded.leftovers import end_processes, list_stack_processes
from embedded.planning import (
    ALL_SERVICES,
    buckets_of,
    plan_settings,
    plan_stack,
)
from embedded.ports import StackPorts
from embedded.readiness import OnChange, PortTaken, wait_ready
from embedded.reports import is_alive, read_report, recorded_report
from embedded.repositories import commit_of
from embedded.services import StackPlan, StackReport
from embedded.state_folder import choose_site, layout_of, make_state_dir, only_one, remembered_ports, write_files
from embedded.task_runtime import require_container_engine
from ratchet.core.errors import Unavailable
from ratchet.settings import Settings

STOPPED_WITHIN_S = 45.0
"""Servers that depend on one another end one by one: a sensor within 15 s, then the control plane within 20."""
_STARTS_MAX = 3
"""Between choosing a free port and listening on it, somebody else may take it: then others are chosen."""
_LEFTOVER_GRACE_S = 5.0


class StackStarted(BaseModel):
    model_config = ConfigDict(frozen=True)

    report: StackReport
    was_running: bool


class StackStopped(BaseModel):
    model_config = ConfigDict(frozen=True)

    num_servers: int
    """That ran when we came; 0 when the stack was down."""
    num_leftovers: int
    """Processes that outlived their server, or an earlier `kill -9`, and were ended."""


def start_stack(
    base: Settings,
    *,
    project_dir: Path,
    services: Sequence[str] = ALL_SERVICES,
    on_change: OnChange = lambda report: None,
    is_detached: bool = True,
) -> StackStarted:
    """Start the stack of `base.state_dir` and wait until every server is ready; harmless when it runs already.

    base: where the state folder is; its endpoints and credentials are replaced, the rest goes into the profile.
    is_detached: the stack outlives this process; else it dies with it.
    SettingsError: no container engine can run what RATCHET_TASK_RUNTIME=oci asks for.
    Unavailable: a server did not become ready. Then nothing is left running, and the message names its log.
    """
    layout = layout_of(base)
    make_state_dir(layout)
    check_access(base)
    if base.task_runtime == "oci":
        require_container_engine()
    with only_one(layout):
        running = read_report(layout)
        if running:
            return StackStarted(report=wait_ready(layout, None, on_change), was_running=True)
        with_commit = base.model_copy(update={"git_commit": base.git_commit or commit_of(project_dir)})
        credentials = load_or_make_credentials(layout.credentials)
        if not is_detached:
            end_processes(
                list_stack_processes(credentials.stack_id, recorded_report(layout)), grace_s=_LEFTOVER_GRACE_S
            )
        for attempt in range(1, _STARTS_MAX + 1):
            site = choose_site(
                layout, credentials, project_dir=project_dir, services=tuple(services), is_lasting=is_detached
            )
            settings = plan_settings(with_commit, site)
            plan = plan_stack(settings, site)
            _end_others(layout, plan)
            remove_half_written(layout)
            write_files(settings, site)
            try:
                report = _start(layout, plan, _with_buckets(settings, on_change))
                return StackStarted(report=report, was_running=False)
            except BaseException as error:  # Ctrl-C too leaves nothing half started behind
                _stop(layout)
                if not isinstance(error, PortTaken) or attempt == _STARTS_MAX:
                    raise
    raise AssertionError("the last attempt returns or raises")


def stop_stack(layout: Layout) -> StackStopped:
    """Stop every server of this stack and prove that no process of it is left; harmless when it is down."""
    if not layout.credentials.is_file():
        return StackStopped(num_servers=0, num_leftovers=0)
    with only_one(layout):
        return _stop(layout)


def _end_others(layout: Layout, plan: StackPlan) -> None:
    """What runs of an earlier start, but for the servers that the supervisor will adopt and what these started."""
    adopted = {f"{SERVICE_VARIABLE}={plan.mark_of(service)}".encode() for service in plan.services}
    running = list_stack_processes(plan.stack_id, recorded_report(layout))
    others = [stat for stat in running if not (plan.is_lasting and adopted & environment_of(stat.pid))]
    end_processes(others, grace_s=_LEFTOVER_GRACE_S)


def _with_buckets(settings: Settings, on_change: OnChange) -> OnChange:
    """Also make the buckets, as soon as there is an object store: the servers that need them still import by then."""
    missing = list(buckets_of(settings))

    def watch(report: StackReport) -> None:
        if missing and any(s.name == object_store.NAME and s.state == "ready" for s in report.services):
            object_store.make_buckets(settings, missing)
            missing.clear()
        on_change(report)

    return watch


def _start(layout: Layout, plan: StackPlan, on_change: OnChange) -> StackReport:
    # Else `wait_ready` would take the report of an earlier start for this one's.
    layout.report.unlink(missing_ok=True)
    log = layout.log_of("supervisor")
    make_private_dir(log.parent)
    with log.open("ab") as output:
        starter = start_keeper(plan, supervisor_pid=None, log=output) if plan.is_lasting else _tethered(plan, output)
    return wait_ready(layout, starter, on_change, plan.services)


def _tethered(plan: StackPlan, output: IO[bytes]) -> "subprocess.Popen[bytes]":
    """A supervisor that dies with this process, and its servers with it."""
    return start_with_plan(tethered(SUPERVISOR), plan, log=output)


def _stop(layout: Layout) -> StackStopped:
    report = read_report(layout)
    num_servers = len([service for service in report.services if service.pid]) if report else 0
    if report:
        _end_supervisor(report)
    stack_id = load_or_make_credentials(layout.credentials).stack_id
    leftovers = list_stack_processes(stack_id, recorded_report(layout))
    end_processes(leftovers, grace_s=_LEFTOVER_GRACE_S)
    remaining = list_stack_processes(stack_id)
    if remaining:
        pids = ", ".join(str(stat.pid) for stat in remaining)
        raise Unavailable(f"These processes of the stack did not end: {pids}. `ps -p {pids}` shows them.")
    layout.report.unlink(missing_ok=True)
    remove_socket_dir(layout)
    object_store.remove_sockets(StackPorts.model_validate(remembered_ports(layout)))
    return StackStopped(num_servers=num_servers, num_leftovers=len(leftovers))


def _end_supervisor(report: StackReport) -> None:
    """It stops its servers in reverse order; when it does not end in time, leftovers are ended one by one.

    The keeper is told as well: it starts no other, and ends after the supervisor.
    """
    named = [each for each in (report.supervisor.keeper, report.supervisor) if each and is_alive(each)]
    end_processes([stat for each in named if (stat := process_stat(each.pid))], grace_s=STOPPED_WITHIN_S)
