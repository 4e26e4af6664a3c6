"""One replica of a revision: its server is started, awaited, watched, and replaced when it dies or hangs."""

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import httpx

from embedded.control_plane.errors import ControlPlaneError
from embedded.control_plane.host.liveness import HangLimits, HangWatch
from embedded.control_plane.kserve.commands import (
    MODEL_DIGEST_VARIABLE,
    REFUSED_EXIT_CODE,
    StartFailed,
    cause_in,
    command_of,
    env_of,
    may_be_forked,
    mounted,
)
from embedded.control_plane.kserve.model_folder import ModelFolder
from embedded.control_plane.kserve.predictor import MOUNT, ProcessTemplate
from embedded.control_plane.kserve.register import ServerRecord
from embedded.control_plane.kserve.server import ModelServer, Start, ready_path_of, start_server
from embedded.control_plane.kserve.server_pool import Servers

log = logging.getLogger(__name__)
_POLL_S = 0.05
_LOOK_EVERY_S = 1.0
"""At a server that is ready."""
_STALLED_S = 4.0
"""A check that took longer than this waited for us, not for the server."""
_STOP_GRACE_S = 12.0
"""A server that is told to stop finishes the requests it has; KServe's own limit is 10 s."""
_HANGS = HangLimits(red_s_max=4.0, busy_s_max=60.0)
"""Shorter than for other servers: Envoy moves requests after two failed checks, and a new one is ready in 0.7 s."""
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.1, 30.0
_STABLE_AFTER_S = 60.0
"""Whoever lived this long has earned a quick restart again."""
_BEGIN_AGAIN_S = 0.2
_TAIL_NUM_LINES, _TAIL_NUM_CHARS = 12, 1500
_DIGEST_AT_END = re.compile(r"/([0-9a-f]{64})/?$")
"""A URI that names its model by digest. The server is told, and compares the folder before it runs anything of it."""

Phase = Literal["starting", "ready", "silent", "failed", "stopped"]
"""silent: it was ready, lives, and did not answer the last check."""


class Replica:
    """Keeps one server of a revision running until `stop` or `leave`."""

    def __init__(
        self,
        *,
        service: str,
        record: ServerRecord,
        template: ProcessTemplate,
        folder: ModelFolder,
        servers: Servers,
        running: ModelServer | None,
        on_change: Callable[[], None],
    ) -> None:
        """running: the server of a control plane before us; it answered a moment ago."""
        self.phase: Phase = "ready" if running else "starting"
        self.message = f"{record.revision} is ready" if running else f"{record.revision} is starting"
        self.has_been_ready = running is not None
        self.port = record.port
        self.path: Path | None = running.path if running else None
        self._service = service
        self._record = record
        self._template = template
        self._folder = folder
        self._servers = servers
        self._running = running
        self._on_change = on_change
        self._log = servers.site.logs_dir / f"{record.revision}.log"
        self._log_start = running.record.log_start if running else 0
        self._is_stopping = self._is_leaving = False
        if running:
            servers.ports.hold(record.port)
        self._task = self._begin()

    async def stop(self) -> None:
        """End the server, letting it finish what it has begun."""
        self._is_stopping = True
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._become("stopped", f"{self._record.revision} is stopped")

    async def leave(self) -> None:
        """Let go of the server: the next control plane adopts it."""
        self._is_leaving = True
        await self.stop()

    def _begin(self) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._run())
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, ended: "asyncio.Task[None]") -> None:
        """Nobody but `stop` may end the task: a library that cancels it would leave a revision without its server."""
        if not self._is_stopping:
            log.error("%s: what keeps its server was ended; it begins again", self._record.revision)
            asyncio.get_running_loop().call_later(_BEGIN_AGAIN_S, self._begin_again)

    def _begin_again(self) -> None:
        if not self._is_stopping:
            self._task = self._begin()

    async def _run(self) -> None:
        backoff_s = _BACKOFF_S_MIN
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            try:
                await self._serve_once()
            except (StartFailed, ControlPlaneError) as failure:
                self._become("failed", f"{self._record.revision}: {failure}")
            except Exception as failure:
                log.exception("%s cannot be started", self._record.revision)
                self._become("failed", f"{self._record.revision}: cannot be started: {failure}")
            lived_long = loop.time() - started_at > _STABLE_AFTER_S
            backoff_s = _BACKOFF_S_MIN if lived_long else backoff_s
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)

    async def _serve_once(self) -> None:
        """One life of the process. Ends with StartFailed, for a server has no reason to end by itself."""
        server, self._running = self._running, None
        is_new = server is None
        if server is None:
            await self._folder.fetch()
            self.port = self._servers.ports.take(self.port)
        grace_s = _STOP_GRACE_S
        try:
            server = server or await self._start()
            if is_new:
                await self._wait_ready(server)
                self._become("ready", f"{self._record.revision} is ready")
            hung = await self._watch(server)
            if hung:
                grace_s = 0.0
                raise StartFailed(self._with_tail(f"the server {hung} and is restarted"))
            raise StartFailed(self._with_tail(f"the server died ({await server.exit_text()}) and is restarted"))
        finally:
            if server and not self._is_leaving:
                await server.stop(grace_s=grace_s)
            self._servers.ports.give_back(self.port)

    async def _start(self) -> ModelServer:
        site, log_path = self._servers.site, self._log
        site.logs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        path = str(self._folder.path or "")
        record = self._record.model_copy(update={"port": self.port, "model_dir": path, "log_start": self._log_start})
        start = self._start_of(record)
        entered = self._servers.register.enter(record)
        self.path = entered.path  # known before the process is: nobody takes it for a stray one
        return await start_server(
            start,
            entered,
            log_path=log_path,
            register=self._servers.register,
            site=site,
            forks=self._servers.forks_of(self._template.fork_command),
        )

    def _start_of(self, record: ServerRecord) -> Start:
        template = self._template
        env = env_of(template.env, self._servers.site.secrets_dir)
        env["PORT"] = str(record.port)
        if digest := _DIGEST_AT_END.search(template.storage_uri):
            env.setdefault(MODEL_DIGEST_VARIABLE, digest[1])
        mount = record.model_dir or MOUNT
        command = command_of(template.command, env=env, port=record.port, mount=mount)
        known = len(template.fork_command)
        is_forked = known and template.command[:known] == template.fork_command and may_be_forked(template.env)
        args = tuple(command[known:]) if is_forked else None
        return Start(command=tuple(command), env=mounted(env, mount), fork_args=args)

    async def _watch(self, server: ModelServer) -> str:
        """Until it has ended (then empty), or hangs: the reason. One that says it is not ready is alive."""
        watch, loop = HangWatch(_HANGS), asyncio.get_running_loop()
        # trust_env=False: a proxy named in the environment must not get requests for loopback.
        async with httpx.AsyncClient(trust_env=False) as client:
            while not await server.wait(_LOOK_EVERY_S):
                asked_at = loop.time()
                status = await server.answers_at(self._ready_path(), client)
                if server.has_ended or loop.time() - asked_at > _STALLED_S:
                    continue
                problem = "" if status is not None else "it does not answer"
                hung = watch.note(problem, has_answered=False, now_s=loop.time(), cpu_s=server.cpu_s)
                if hung:
                    return hung
                if watch.red:
                    self._become("silent", f"{self._record.revision} does not answer, for {watch.red.for_s:.0f} s")
                elif self.phase == "silent":
                    self._become("ready", f"{self._record.revision} is ready")
        return ""

    async def _wait_ready(self, server: ModelServer) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._servers.site.start_within_s
        async with httpx.AsyncClient(trust_env=False) as client:
            while loop.time() < deadline:
                if server.has_ended:
                    code = await server.exit_code()
                    self._folder.is_refused = code == REFUSED_EXIT_CODE
                    cause = cause_in(self._written())
                    what = f"the server stopped while starting ({await server.exit_text()})"
                    raise StartFailed(self._with_tail(f"{cause.rstrip('.')} ({what})" if cause else what))
                if await server.answers_at(self._ready_path(), client) == httpx.codes.OK:
                    return
                await asyncio.sleep(_POLL_S)
        url = f"http://127.0.0.1:{self.port}{self._ready_path()}"
        raise StartFailed(self._with_tail(f"{url} was not ready within {self._servers.site.start_within_s:g} s"))

    def _ready_path(self) -> str:
        return ready_path_of(self._service)

    def _written(self) -> str:
        """What this life of the process has written."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace").strip()

    def _with_tail(self, first: str) -> str:
        """A first line that says all that users need, then the end of the log."""
        tail = "\n".join(self._written().splitlines()[-_TAIL_NUM_LINES:])[-_TAIL_NUM_CHARS:]
        return f"{first}.\nEnd of {self._log}:\n{tail}" if tail else f"{first}. {self._log} is empty."

    def _become(self, phase: Phase, message: str) -> None:
        self.phase, self.message = phase, message
        self.has_been_ready = self.has_been_ready or phase == "ready"
        self._on_change()
