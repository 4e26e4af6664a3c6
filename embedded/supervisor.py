"""The supervisor: one process that starts the servers, restarts those that end or hang, and stops them in reverse.

`ratchet up` starts its keeper, which starts it (`python -m embedded.supervisor`, the StackPlan on stdin), and goes. It
speaks through one file, stack.json. SIGTERM stops everything. When it is killed, its servers go on, and the next
supervisor adopts them. Without a keeper (a stack that is to die with the process that started it) its servers are
tethered: they die with it, even by SIGKILL.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from embedded.adopted import SERVICE_VARIABLE, STACK_ID_VARIABLE, find_server
from embedded.control_plane.host.held import Held
from embedded.control_plane.host.liveness import HangWatch
from embedded.control_plane.host.processes import (
    cpu_s_of_group,
    is_listener_in_group,
    process_stat,
    stop_group,
    tethered,
)
from embedded.keeper import ALREADY_RUNNING, STOPPED
from embedded.keeping import living_keeper, start_keeper
from embedded.layout import write_private
from embedded.leftovers import end_processes, list_stack_processes
from embedded.log_files import trim_log, trim_open_log
from embedded.probes import probe, why_not_ready
from embedded.services import ProcessName, Service, ServiceReport, StackPlan, StackReport, SupervisorReport
from ratchet.settings import child_env

_PROBE_EVERY_S = 0.1
_LOOK_EVERY_S = 2.0
"""At a server that is ready, and at the keeper."""
_LOOK_TIMEOUT_S = 2.0
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.2, 15.0
_STABLE_AFTER_S = 30.0
"""A server that lived this long starts again without delay."""
_FAILED_AFTER = 3
"""Starts in a row without ever being ready; then `ratchet up` need not wait for more."""
_TRIM_EVERY_S = 60.0
_HUNG_GRACE_S = 2.0
"""What hangs seldom ends when it is asked to, and nobody is served meanwhile."""
_LEFTOVER_GRACE_S = 12.0
"""Model servers finish the requests that they have."""

log = logging.getLogger(__name__)


def backoff_s(failures: int) -> float:
    """The pause before the next start: doubles with each failure in a row, up to 15 s."""
    doublings = min(max(failures - 1, 0), 10)  # 2.0 ** 1024 overflows: four hours of failures
    return min(_BACKOFF_S_MIN * 2.0**doublings, _BACKOFF_S_MAX)


class Supervisor:
    """Keeps the servers of one plan running until it is told to stop."""

    def __init__(self, plan: StackPlan) -> None:
        self._plan = plan
        before = _report_before(plan)
        restarts = {service.name: service.restarts for service in before.services} if before else {}
        self._restarts = before.supervisor.restarts + 1 if before else 0
        self._reports = {
            s.name: ServiceReport(name=s.name, port=s.port, log=s.log, ready=s.ready, restarts=restarts.get(s.name, 0))
            for s in plan.services
        }
        self._keeper: ProcessName | None = None
        self._servers: dict[str, Held] = {}
        self._ready = {service.name: asyncio.Event() for service in plan.services}
        self._stopped = {service.name: asyncio.Event() for service in plan.services}
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. An error of the supervisor itself ends it; its servers are the next one's."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        keepers = {service.name: asyncio.create_task(self._keep_running(service)) for service in self._plan.services}
        told_to_stop = asyncio.create_task(self._wait_for_order())
        others = [asyncio.create_task(self._trim_logs()), asyncio.create_task(self._keep_keeper())]
        done, _ = await asyncio.wait([told_to_stop, *keepers.values(), *others], return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        for task in done:
            task.result()
        await asyncio.gather(*(self._stop_service(service, keepers[service.name]) for service in self._plan.services))
        await asyncio.to_thread(self._stop_others)

    async def _wait_for_order(self) -> None:
        await self._stop.wait()

    async def _trim_logs(self) -> None:
        """A server that runs for months must not fill the disk with its log."""
        while True:
            await asyncio.sleep(_TRIM_EVERY_S)
            for service in self._plan.services:
                try:
                    await asyncio.to_thread(trim_open_log, service.log)
                except OSError as error:
                    log.warning("%s: its log cannot be trimmed: %s", service.name, error)

    async def _keep_keeper(self) -> None:
        """Who starts us again is started again by us."""
        self._write_report()
        await self._note_keeper()
        while self._plan.is_lasting:
            await asyncio.sleep(_LOOK_EVERY_S)
            if await self._note_keeper():
                continue
            log.warning("the supervisor's keeper ended; another one is started")
            start_keeper(self._plan, supervisor_pid=os.getpid(), log=None)
        await self._stop.wait()

    async def _note_keeper(self) -> bool:
        """Whether one lives; the report names it. In a thread: one that is starting takes a moment to be named."""
        keeper = await asyncio.to_thread(living_keeper, self._plan)
        if keeper != self._keeper:
            self._keeper = keeper
            self._write_report()
        return keeper is not None

    async def _keep_running(self, service: Service) -> None:
        server = self._adopt(service)
        if server is None:
            for name in service.depends_on:
                await self._ready[name].wait()
        failures = 0
        while True:
            started = time.monotonic()
            server = server or self._adopt(service) or self._start(service)
            detail, was_ready = await self._watch(service, server, started)
            self._ready[service.name].clear()
            has_been_stable = not detail and time.monotonic() - started > _STABLE_AFTER_S
            failures = 0 if has_been_stable else failures + 1
            await self._note_end(service, await server.wait(), detail=detail, failures=failures, was_ready=was_ready)
            server = None
            await asyncio.sleep(backoff_s(failures))

    def _adopt(self, service: Service) -> Held | None:
        """One that runs already: of a supervisor that was killed, maybe at the moment at which it started it."""
        if not self._plan.is_lasting:
            return None
        mark, stack_id = self._plan.mark_of(service), self._plan.stack_id
        server = find_server(mark, command=service.command, stack_id=stack_id)
        if server:
            self._note_start(service, server)
            log.info("%s: adopted, pid %d", service.name, server.pid)
        return server

    def _start(self, service: Service) -> Held:
        """Called in the main thread, which lives as long as the supervisor: the tether is tied to a thread."""
        trim_log(service.log)
        marks = {STACK_ID_VARIABLE: self._plan.stack_id, SERVICE_VARIABLE: self._plan.mark_of(service)}
        with service.log.open("ab") as output:
            process = subprocess.Popen(
                service.command if self._plan.is_lasting else tethered(service.command),
                env=child_env({**marks, **service.env}),
                cwd=service.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Held(process.pid, process)
        self._note_start(service, server)
        log.info("%s: started, pid %d", service.name, process.pid)
        return server

    def _note_start(self, service: Service, server: Held) -> None:
        self._servers[service.name] = server
        stat = process_stat(server.pid)
        ticks = stat.started_at_ticks if stat else None
        self._report(service.name, state="starting", pid=server.pid, started_at_ticks=ticks, detail="")

    async def _watch(self, service: Service, server: Held, started: float) -> tuple[str, bool]:
        """Until it has ended. Why we ended it, else empty; and whether it was ready."""
        problem = await self._wait_ready(service, server, deadline=started + service.ready.within_s)
        was_ready = not problem
        if was_ready:
            took_s = round(time.monotonic() - started, 1)
            self._report(service.name, state="ready", ready_after_s=took_s)
            self._ready[service.name].set()
            log.info("%s: ready after %.1f s", service.name, took_s)
            problem = await self._wait_hung(service, server)
        if problem and not server.has_ended:
            grace_s = _HUNG_GRACE_S if was_ready else service.stop_grace_s
            await asyncio.to_thread(stop_group, server.pid, grace_s=grace_s)
        await server.ended()
        return problem, was_ready

    async def _wait_ready(self, service: Service, server: Held, *, deadline: float) -> str:
        """Empty when it is ready: it answers, and on a port of its own. Else the reason."""
        while True:
            problem = await asyncio.to_thread(why_not_ready, service.ready)
            if server.has_ended:
                return "ended before it was ready"
            if not problem and await asyncio.to_thread(is_listener_in_group, server.pid, port=service.port):
                return ""
            problem = problem or f"port {service.port} belongs to another program"
            if time.monotonic() > deadline:
                return f"not ready within {service.ready.within_s:.0f} s ({problem})"
            await asyncio.sleep(_PROBE_EVERY_S)

    async def _wait_hung(self, service: Service, server: Held) -> str:
        """Until it has ended (then empty), or counts as hung: the reason."""
        watch = HangWatch(service.hangs)
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(server.ended(), _LOOK_EVERY_S)
            if server.has_ended:
                return ""
            seen = await asyncio.to_thread(probe, service.ready, timeout_s=_LOOK_TIMEOUT_S)
            cpu_s = await asyncio.to_thread(cpu_s_of_group, server.pid) if seen.problem else 0.0
            was_red = watch.red is not None
            hung = watch.note(seen.problem, has_answered=seen.has_answered, now_s=time.monotonic(), cpu_s=cpu_s)
            if hung and not server.has_ended:
                return hung
            if watch.red:
                self._report(service.name, detail=f"red for {watch.red.for_s:.0f} s: {watch.red.problem}")
            elif was_red:
                self._report(service.name, detail="")

    async def _note_end(
        self, service: Service, code: int | None, *, detail: str, failures: int, was_ready: bool
    ) -> None:
        """A server that ended may leave children in its group; the next start must not meet them."""
        await asyncio.to_thread(stop_group, self._servers.pop(service.name).pid, grace_s=0.0)
        report = self._reports[service.name]
        reason = f"{_end_of(code)}; {detail}" if detail else _end_of(code)
        state = "failed" if not was_ready and failures >= _FAILED_AFTER else "restarting"
        self._report(service.name, state=state, pid=None, restarts=report.restarts + 1, detail=reason)
        log.warning("%s: %s; restarts in %.1f s", service.name, reason, backoff_s(failures))

    async def _stop_service(self, service: Service, keeper: "asyncio.Task[None]") -> None:
        """After those that depend on it, so that nobody loses a server that he still talks to."""
        for other in self._plan.services:
            if service.name in other.depends_on:
                await self._stopped[other.name].wait()
        keeper.cancel()
        await asyncio.wait([keeper])
        server = self._servers.pop(service.name, None)
        if server:
            await asyncio.to_thread(stop_group, server.pid, grace_s=service.stop_grace_s)
        self._report(service.name, state="stopped", pid=None)
        self._stopped[service.name].set()
        log.info("%s: stopped", service.name)

    def _stop_others(self) -> None:
        """What outlives its server (a model server outlives the control plane) ends with the stack."""
        if not self._plan.is_lasting:
            return
        keeper = living_keeper(self._plan)
        mine = {os.getpid(), keeper.pid if keeper else 0}
        others = [stat for stat in list_stack_processes(self._plan.stack_id) if stat.pid not in mine]
        end_processes(others, grace_s=_LEFTOVER_GRACE_S)

    def _report(self, name: str, **changes: Any) -> None:
        self._reports[name] = self._reports[name].model_copy(update=changes)
        self._write_report()

    def _write_report(self) -> None:
        stat = process_stat(os.getpid())
        assert stat, "we are alive"
        report = StackReport(
            stack_id=self._plan.stack_id,
            endpoints=self._plan.endpoints,
            services=tuple(self._reports.values()),
            supervisor=SupervisorReport(
                pid=stat.pid,
                started_at_ticks=stat.started_at_ticks,
                restarts=self._restarts,
                keeper=self._keeper,
            ),
        )
        write_private(self._plan.report, report.model_dump_json(indent=1))


def _end_of(code: int | None) -> str:
    if code is None:
        return "ended"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _report_before(plan: StackPlan) -> StackReport | None:
    """Of a supervisor of the same stack that was killed."""
    with suppress(OSError, ValueError):
        before = StackReport.model_validate_json(plan.report.read_text())
        return before if before.stack_id == plan.stack_id else None
    return None


def _lock(path: Path) -> FileIO | None:
    """The lock of a living supervisor; None when another holds it. The kernel frees it however the holder ends."""
    file = FileIO(str(path), "w+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return file


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embedded.supervisor")
    parser.add_argument("--lock-fd", type=int, help="the supervisor's lock, held by who starts it")
    return parser.parse_args()


def main() -> None:
    given = _parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    plan = StackPlan.model_validate_json(sys.stdin.read())
    lock = _lock(plan.lock) if given.lock_fd is None else FileIO(given.lock_fd, "r+")
    if lock is None:
        sys.exit(ALREADY_RUNNING)
    os.set_inheritable(lock.fileno(), False)
    with lock:
        asyncio.run(Supervisor(plan).run())
        lock.write(STOPPED)


if __name__ == "__main__":
    main()
