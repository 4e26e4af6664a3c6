"""The supervisor: one process that starts the servers, restarts those that end, and stops them in reverse.

`ratchet up` starts it (`python -m embedded.supervisor`, the StackPlan on stdin) and goes. Its servers are tethered:
they die with it, even by SIGKILL. It speaks through one file, stack.json. SIGTERM stops everything.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import sys
import time
from io import FileIO
from pathlib import Path
from typing import Any

from embedded.layout import make_private_dir, write_private
from embedded.probes import why_not_ready
from embedded.processes import is_listener_in_group, process_stat, stop_group, tethered
from embedded.services import Service, ServiceReport, StackPlan, StackReport, SupervisorReport
from ratchet.settings import child_env

STACK_ID_VARIABLE = "EMBEDDED_STACK_ID"
"""Marks every process of a stack, at any depth. No RATCHET_ name: `child_env` would drop those."""
ALREADY_RUNNING = 4
_PROBE_EVERY_S = 0.1
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.5, 15.0
_STABLE_AFTER_S = 30.0
"""A server that lived this long starts again without delay."""
_FAILED_AFTER = 3
"""Starts in a row without ever being ready; then `ratchet up` need not wait for more."""
_LOG_BYTES_MAX = 16 * 1024 * 1024
_TRIM_EVERY_S = 60.0

log = logging.getLogger(__name__)


def backoff_s(failures: int) -> float:
    """The pause before the next start: doubles with each failure in a row, up to 15 s."""
    doublings = min(max(failures - 1, 0), 10)  # 2.0 ** 1024 overflows: four hours of failures
    return min(_BACKOFF_S_MIN * 2.0**doublings, _BACKOFF_S_MAX)


class Supervisor:
    """Keeps the servers of one plan running until it is told to stop."""

    def __init__(self, plan: StackPlan) -> None:
        self._plan = plan
        self._reports = {
            s.name: ServiceReport(name=s.name, port=s.port, log=s.log, ready=s.ready) for s in plan.services
        }
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._ready = {service.name: asyncio.Event() for service in plan.services}
        self._stopped = {service.name: asyncio.Event() for service in plan.services}
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. An error of the supervisor itself stops the servers, too."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        self._write_report()
        keepers = {service.name: asyncio.create_task(self._keep_running(service)) for service in self._plan.services}
        told_to_stop = asyncio.create_task(self._stop.wait())
        trimmer = asyncio.create_task(self._trim_logs())
        done, _ = await asyncio.wait([told_to_stop, *keepers.values()], return_when=asyncio.FIRST_COMPLETED)
        trimmer.cancel()
        await asyncio.gather(*(self._stop_service(service, keepers[service.name]) for service in self._plan.services))
        for task in done:
            task.result()

    async def _trim_logs(self) -> None:
        """A server that runs for months must not fill the disk with its log."""
        while True:
            await asyncio.sleep(_TRIM_EVERY_S)
            for service in self._plan.services:
                try:
                    await asyncio.to_thread(trim_open_log, service.log)
                except OSError as error:
                    log.warning("%s: its log cannot be trimmed: %s", service.name, error)

    async def _keep_running(self, service: Service) -> None:
        for name in service.depends_on:
            await self._ready[name].wait()
        failures = 0
        while True:
            started = time.monotonic()
            process = await self._start(service)
            detail = await self._watch(service, process, started)
            self._ready[service.name].clear()
            has_been_stable = not detail and time.monotonic() - started > _STABLE_AFTER_S
            failures = 0 if has_been_stable else failures + 1
            await self._note_end(service, await process.wait(), detail=detail, failures=failures)
            await asyncio.sleep(backoff_s(failures))

    async def _start(self, service: Service) -> asyncio.subprocess.Process:
        """Called in the main thread, which lives as long as the supervisor: the tether is tied to a thread."""
        _trim_log(service.log)
        with service.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *tethered(service.command),
                env=child_env({STACK_ID_VARIABLE: self._plan.stack_id, **service.env}),
                cwd=service.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes[service.name] = process
        stat = process_stat(process.pid)
        ticks = stat.started_at_ticks if stat else None
        self._report(service.name, state="starting", pid=process.pid, started_at_ticks=ticks, detail="")
        log.info("%s: started, pid %d", service.name, process.pid)
        return process

    async def _watch(self, service: Service, process: asyncio.subprocess.Process, started: float) -> str:
        """Until the process has ended. The reason when it was never ready, else empty."""
        ended = asyncio.create_task(process.wait())
        try:
            problem = await self._wait_ready(service, process, ended, deadline=started + service.ready.within_s)
            if not problem:
                took_s = round(time.monotonic() - started, 1)
                self._report(service.name, state="ready", ready_after_s=took_s)
                self._ready[service.name].set()
                log.info("%s: ready after %.1f s", service.name, took_s)
            elif not ended.done():
                await asyncio.to_thread(stop_group, process.pid, grace_s=service.stop_grace_s)
            await ended
            return problem
        finally:
            ended.cancel()

    async def _wait_ready(
        self, service: Service, process: asyncio.subprocess.Process, ended: "asyncio.Task[int]", *, deadline: float
    ) -> str:
        """Empty when it is ready: it answers, and on a port of its own. Else the reason."""
        while True:
            problem = await asyncio.to_thread(why_not_ready, service.ready)
            if ended.done():
                return "ended before it was ready"
            if not problem and await asyncio.to_thread(is_listener_in_group, process.pid, port=service.port):
                return ""
            problem = problem or f"port {service.port} belongs to another program"
            if time.monotonic() > deadline:
                return f"not ready within {service.ready.within_s:.0f} s ({problem})"
            await asyncio.sleep(_PROBE_EVERY_S)

    async def _note_end(self, service: Service, code: int, *, detail: str, failures: int) -> None:
        """A server that ended may leave children in its group; the next start must not meet them."""
        await asyncio.to_thread(stop_group, self._processes.pop(service.name).pid, grace_s=0.0)
        report = self._reports[service.name]
        reason = f"{_end_of(code)}; {detail}" if detail else _end_of(code)
        state = "failed" if detail and failures >= _FAILED_AFTER else "restarting"
        self._report(service.name, state=state, pid=None, restarts=report.restarts + 1, detail=reason)
        log.warning("%s: %s; restarts in %.1f s", service.name, reason, backoff_s(failures))

    async def _stop_service(self, service: Service, keeper: "asyncio.Task[None]") -> None:
        """After those that depend on it, so that nobody loses a server that he still talks to."""
        for other in self._plan.services:
            if service.name in other.depends_on:
                await self._stopped[other.name].wait()
        keeper.cancel()
        await asyncio.wait([keeper])
        process = self._processes.pop(service.name, None)
        if process:
            await asyncio.to_thread(stop_group, process.pid, grace_s=service.stop_grace_s)
        self._report(service.name, state="stopped", pid=None)
        self._stopped[service.name].set()
        log.info("%s: stopped", service.name)

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
            supervisor=SupervisorReport(pid=stat.pid, started_at_ticks=stat.started_at_ticks),
        )
        write_private(self._plan.report, report.model_dump_json(indent=1))


def _end_of(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _trim_log(path: Path) -> None:
    """Keep one older log of a server that has written a lot; called while nobody writes."""
    make_private_dir(path.parent)
    if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
        path.rename(path.with_suffix(".log.1"))


def trim_open_log(path: Path, *, bytes_max: int = _LOG_BYTES_MAX) -> bool:
    """Begin a log anew that a server has open for appending, and keep the older one; whether it was too large.

    What is written between the copy and the cut is lost: a few lines at most.
    """
    if not path.exists() or path.stat().st_size <= bytes_max:
        return False
    half = path.with_suffix(".log.half")
    with path.open("rb") as source, half.open("wb") as copy:
        source.seek(-min(bytes_max, path.stat().st_size), os.SEEK_END)
        shutil.copyfileobj(source, copy)
    half.rename(path.with_suffix(".log.1"))
    os.truncate(path, 0)
    return True


def _lock(path: Path) -> FileIO | None:
    """The lock of a living supervisor; None when another holds it. The kernel frees it however the holder ends."""
    file = FileIO(str(path), "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return file


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # It warns of a child that it did not reap itself; stop_group reaps.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    plan = StackPlan.model_validate_json(sys.stdin.read())
    lock = _lock(plan.lock)
    if lock is None:
        sys.exit(ALREADY_RUNNING)
    with lock:
        asyncio.run(Supervisor(plan).run())


if __name__ == "__main__":
    main()
