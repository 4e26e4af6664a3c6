"""Start the embedded stack, look at it, stop it. One folder holds one stack; two folders, two stacks."""

import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from embedded import gateway, object_store
from embedded.adopted import SERVICE_VARIABLE, environment_of
from embedded.control_plane.host.processes import is_listener_in_group, is_port_free, process_stat, tethered
from embedded.credentials import Credentials, load_or_make_credentials
from embedded.keeping import SUPERVISOR, start_keeper, start_with_plan
from embedded.layout import (
    Layout,
    make_private_dir,
    make_socket_dir,
    remove_half_written,
    remove_socket_dir,
    write_private,
)
from embedded.leftovers import end_processes, list_stack_processes
from embedded.planning import (
    ALL_SERVICES,
    SERVING_SECRET,
    Site,
    buckets_of,
    plan_serving_secret,
    plan_settings,
    plan_stack,
    render_kubeconfig,
    render_profile,
)
from embedded.ports import StackPorts, plan_ports, random_ports
from embedded.repositories import commit_of, make_dataset_repo
from embedded.services import ProcessName, Service, StackPlan, StackReport
from embedded.task_runtime import require_container_engine
from ratchet.core.errors import RatchetError, SettingsError, Unavailable
from ratchet.settings import Settings, variable_of

READY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 45.0
_LOCKED_WITHIN_S = 180.0
_POLL_S = 0.1
_STARTS_MAX = 3
"""Between choosing a free port and listening on it, somebody else may take it: then others are chosen."""
_LEFTOVER_GRACE_S = 5.0

OnChange = Callable[[StackReport], None]


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


class _PortTaken(RatchetError):
    """Another program listens where a server of ours should."""


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
    _make_state_dir(layout)
    if base.task_runtime == "oci":
        require_container_engine()
    with _only_one(layout):
        running = read_report(layout)
        if running:
            return StackStarted(report=_wait_ready(layout, None, on_change), was_running=True)
        with_commit = base.model_copy(update={"git_commit": base.git_commit or commit_of(project_dir)})
        credentials = load_or_make_credentials(layout.credentials)
        if not is_detached:
            end_processes(list_stack_processes(credentials.stack_id, _recorded(layout)), grace_s=_LEFTOVER_GRACE_S)
        for attempt in range(1, _STARTS_MAX + 1):
            site = _choose_site(
                layout, credentials, project_dir=project_dir, services=tuple(services), is_lasting=is_detached
            )
            settings = plan_settings(with_commit, site)
            plan = plan_stack(settings, site)
            _end_others(layout, plan)
            remove_half_written(layout)
            _write_files(settings, site)
            try:
                report = _start(layout, plan, _with_buckets(settings, on_change))
                return StackStarted(report=report, was_running=False)
            except BaseException as error:
                _stop(layout)
                if not isinstance(error, _PortTaken) or attempt == _STARTS_MAX:
                    raise
    raise AssertionError("the last attempt returns or raises")


def stop_stack(layout: Layout) -> StackStopped:
    """Stop every server of this stack and prove that no process of it is left; harmless when it is down."""
    if not layout.credentials.is_file():
        return StackStopped(num_servers=0, num_leftovers=0)
    with _only_one(layout):
        return _stop(layout)


def read_report(layout: Layout) -> StackReport | None:
    """How the stack is doing; None when neither its supervisor nor the keeper that would start one lives."""
    report = _recorded(layout)
    if report is None:
        return None
    watchers = (each for each in (report.supervisor, report.supervisor.keeper) if each)
    return report if any(is_alive(each) for each in watchers) else None


def read_orphaned_report(layout: Layout) -> StackReport | None:
    """What a supervisor that was killed together with its keeper wrote last, while a server of it still runs."""
    report = _recorded(layout)
    services = report.services if report else ()
    named = (ProcessName(pid=each.pid, started_at_ticks=each.started_at_ticks or 0) for each in services if each.pid)
    return report if any(map(is_alive, named)) else None


def is_alive(name: ProcessName) -> bool:
    stat = process_stat(name.pid)
    return stat is not None and stat.started_at_ticks == name.started_at_ticks


def layout_of(settings: Settings) -> Layout:
    return Layout(state_dir=settings.state_dir.absolute())


def _make_state_dir(layout: Layout) -> None:
    variable = variable_of("state_dir")
    if not str(layout.state_dir).isprintable():  # nor are half surrogates, which stand for bytes that are no UTF-8
        raise SettingsError(
            f"{variable}: the path {str(layout.state_dir)!r} has control characters, or bytes that are not UTF-8, "
            f"which profiles and servers cannot read. Name another folder in {variable}."
        )
    try:
        make_private_dir(layout.state_dir)
    except OSError as error:
        raise SettingsError(f"{variable}: {error}. Name a folder that you may write in {variable}.") from None


def _choose_site(
    layout: Layout, credentials: Credentials, *, project_dir: Path, services: tuple[str, ...], is_lasting: bool
) -> Site:
    """On the ports of the last start where they are free, or held by the servers of that start, which live on."""
    ours = {stat.group for stat in list_stack_processes(credentials.stack_id)}

    def is_usable(port: int) -> bool:
        return object_store.is_port_usable(port) or any(is_listener_in_group(group, port=port) for group in ours)

    ports = plan_ports(remembered=_remembered_ports(layout), is_free=is_usable, candidates=random_ports())
    write_private(layout.ports, ports.model_dump_json(indent=1))
    return Site(
        layout=layout,
        project_dir=project_dir.absolute(),
        ports=ports,
        credentials=credentials,
        socket_dir=make_socket_dir(layout),
        services=services,
        is_lasting=is_lasting,
    )


def _end_others(layout: Layout, plan: StackPlan) -> None:
    """What runs of an earlier start, but for the servers that the supervisor will adopt and what these started."""
    adopted = {f"{SERVICE_VARIABLE}={plan.mark_of(service)}".encode() for service in plan.services}
    running = list_stack_processes(plan.stack_id, _recorded(layout))
    others = [stat for stat in running if not (plan.is_lasting and adopted & environment_of(stat.pid))]
    end_processes(others, grace_s=_LEFTOVER_GRACE_S)


def _remembered_ports(layout: Layout) -> dict[str, int]:
    """Those of the last start; a file that is not there or damaged remembers nothing."""
    with suppress(OSError, ValidationError):
        return StackPorts.model_validate_json(layout.ports.read_text()).model_dump()
    return {}


def _write_files(settings: Settings, site: Site) -> None:
    """All that the servers and their clients read."""
    layout = site.layout
    for folder in (layout.object_store, layout.mlflow, layout.gateway, layout.control_plane, layout.secrets):
        make_private_dir(folder)
    object_store.write_object_store_files(layout, site.credentials, ratchet_bucket=settings.ratchet_bucket)
    object_store.write_webhook(
        layout,
        sensor_endpoint=settings.sensor_endpoint,
        token=settings.sensor_token.get_secret_value(),
        bucket=settings.labels_bucket,
    )
    gateway.write_gateway_files(layout, ports=site.ports, admin_socket=site.admin_socket)
    write_private(layout.token, site.credentials.kubernetes_token)
    write_private(layout.mlflow_token, site.credentials.mlflow_token)
    write_private(layout.kfp_token, site.credentials.kfp_token)
    write_private(layout.kubeconfig, render_kubeconfig(settings))
    for name, value in settings.as_env().items():
        write_private(layout.secrets / "ratchet" / name, value)
    for name, value in plan_serving_secret(settings, site.credentials).items():
        write_private(layout.secrets / SERVING_SECRET / name, value)
    make_dataset_repo(layout.dataset_repo)
    write_private(layout.profile, render_profile(settings))


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
    layout.report.unlink(missing_ok=True)
    log = layout.log_of("supervisor")
    make_private_dir(log.parent)
    with log.open("ab") as output:
        starter = start_keeper(plan, supervisor_pid=None, log=output) if plan.is_lasting else _tethered(plan, output)
    return _wait_ready(layout, starter, on_change, plan.services)


def _tethered(plan: StackPlan, output: IO[bytes]) -> "subprocess.Popen[bytes]":
    """A supervisor that dies with this process, and its servers with it."""
    return start_with_plan(tethered(SUPERVISOR), plan, log=output)


def _wait_ready(
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
            raise _PortTaken(
                f"{service.name} needs port {taken[0]}, which another program uses. Run the command again."
            )
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


def _stop(layout: Layout) -> StackStopped:
    report = read_report(layout)
    num_servers = len([service for service in report.services if service.pid]) if report else 0
    if report:
        _end_supervisor(report)
    stack_id = load_or_make_credentials(layout.credentials).stack_id
    leftovers = list_stack_processes(stack_id, _recorded(layout))
    end_processes(leftovers, grace_s=_LEFTOVER_GRACE_S)
    remaining = list_stack_processes(stack_id)
    if remaining:
        pids = ", ".join(str(stat.pid) for stat in remaining)
        raise Unavailable(f"These processes of the stack did not end: {pids}. `ps -p {pids}` shows them.")
    layout.report.unlink(missing_ok=True)
    remove_socket_dir(layout)
    object_store.remove_sockets(StackPorts.model_validate(_remembered_ports(layout)))
    return StackStopped(num_servers=num_servers, num_leftovers=len(leftovers))


def _end_supervisor(report: StackReport) -> None:
    """It stops its servers in reverse order; when it does not end in time, leftovers are ended one by one.

    The keeper is told as well: it starts no other, and ends after the supervisor.
    """
    named = [each for each in (report.supervisor.keeper, report.supervisor) if each and is_alive(each)]
    end_processes([stat for each in named if (stat := process_stat(each.pid))], grace_s=STOPPED_WITHIN_S)


def _recorded(layout: Layout) -> StackReport | None:
    """What stack.json says, whether or not it is still true."""
    try:
        return StackReport.model_validate_json(layout.report.read_text())
    except (FileNotFoundError, ValidationError):
        return None


@contextmanager
def _only_one(layout: Layout) -> Iterator[None]:
    """Hold the lock of `up` and `down`. The kernel frees it however its holder ends."""
    deadline = time.monotonic() + _LOCKED_WITHIN_S
    with FileIO(str(layout.up_lock), "w") as file:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                raise Unavailable(f"Another `ratchet up` or `ratchet down` holds {layout.up_lock}. Wait for it to end.")
            time.sleep(_POLL_S)
        yield
