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
from io import FileIO
from pathlib import Path

from embedded.adopted import SERVICE_VARIABLE, STACK_ID_VARIABLE, find_server
from embedded.control_plane.host.held import Held
from embedded.control_plane.host.processes import (
    process_stat,
    stop_group,
    tethered,
)
from embedded.keeper import ALREADY_RUNNING, STOPPED
from embedded.keeping import living_keeper, start_keeper
from embedded.leftovers import end_processes, list_stack_processes
from embedded.log_files import trim_log, trim_open_log
from embedded.report_file import ReportFile
from embedded.service_watch import LOOK_EVERY_S, wait_until_hung, wait_until_ready
from embedded.services import Service, StackPlan
from ratchet.settings import child_env

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
        self._report = ReportFile(plan)
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
        self._report.write()
        await self._note_keeper()
        while self._plan.is_lasting:
            await asyncio.sleep(LOOK_EVERY_S)
            if await self._note_keeper():
                continue
            log.warning("the supervisor's keeper ended; another one is started")
            start_keeper(self._plan, supervisor_pid=os.getpid(), log=None)
        await self._stop.wait()

    async def _note_keeper(self) -> bool:
        """Whether one lives; the report names it. In a thread: one that is starting takes a moment to be named."""
        keeper = await asyncio.to_thread(living_keeper, self._plan)
        self._report.note_keeper(keeper)
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
        self._report.change(service.name, state="starting", pid=server.pid, started_at_ticks=ticks, detail="")

    async def _watch(self, service: Service, server: Held, started: float) -> tuple[str, bool]:
        """Until it has ended. Why we ended it, else empty; and whether it was ready."""
        problem = await wait_until_ready(service, server, deadline=started + service.ready.within_s)
        was_ready = not problem
        if was_ready:
            took_s = round(time.monotonic() - started, 1)
            self._report.change(service.name, state="ready", ready_after_s=took_s)
            self._ready[service.name].set()
            log.info("%s: ready after %.1f s", service.name, took_s)
            problem = await wait_until_hung(
                service, server, on_red=lambda detail: self._report.change(service.name, detail=detail)
            )
        if problem and not server.has_ended:
            grace_s = _HUNG_GRACE_S if was_ready else service.stop_grace_s
            await asyncio.to_thread(stop_group, server.pid, grace_s=grace_s)
        await server.ended()
        return problem, was_ready

    async def _note_end(
        self, service: Service, code: int | None, *, detail: str, failures: int, was_ready: bool
    ) -> None:
        """A server that ended may leave children in its group; the next start must not meet them."""
        await asyncio.to_thread(stop_group, self._servers.pop(service.name).pid, grace_s=0.0)
        restarts = self._report.service(service.name).restarts + 1
        reason = f"{_end_of(code)}; {detail}" if detail else _end_of(code)
        state = "failed" if not was_ready and failures >= _FAILED_AFTER else "restarting"
        self._report.change(service.name, state=state, pid=None, restarts=restarts, detail=reason)
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
        self._report.change(service.name, state="stopped", pid=None)
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


def _end_of(code: int | None) -> str:
    if code is None:
        return "ended"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


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
    os.set_inheritable(lock.fileno(), False)  # else a server that outlives us would hold our lock
    with lock:
        asyncio.run(Supervisor(plan).run())
        lock.write(STOPPED)


if __name__ == "__main__":
    main()
