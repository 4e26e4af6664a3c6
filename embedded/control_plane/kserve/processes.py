"""A revision at work: fetch the model, start its servers, wait until they are ready, watch and replace them."""

import asyncio
import functools
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import httpx

from embedded.control_plane.errors import ControlPlaneError, Unavailable
from embedded.control_plane.host.liveness import HangLimits, HangWatch
from embedded.control_plane.host.processes import is_port_free
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
from embedded.control_plane.kserve.forks import ForkServer
from embedded.control_plane.kserve.models import ModelCache
from embedded.control_plane.kserve.predictor import MOUNT, ProcessTemplate
from embedded.control_plane.kserve.register import ServerRecord, ServerRegister
from embedded.control_plane.kserve.server import ModelServer, ServerSite, Start, start_server

log = logging.getLogger(__name__)
_POLL_S = 0.05
_LOOK_EVERY_S = 1.0
"""At a server that is ready."""
_STALLED_S = 4.0
"""A check that took longer than this waited for us, not for the server."""
_STOP_GRACE_S = 12.0
"""A server that is told to stop finishes the requests it has; KServe's own limit is 10 s."""
_HANGS = HangLimits(red_s_max=4.0, busy_s_max=60.0)
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.1, 30.0
_STABLE_AFTER_S = 60.0
"""Whoever lived this long has earned a quick restart again."""
_TAIL_NUM_LINES, _TAIL_NUM_CHARS = 12, 1500
_DIGEST_AT_END = re.compile(r"/([0-9a-f]{64})/?$")
"""A URI that names its model by digest. The server is told, and compares the folder before it runs anything of it."""

Phase = Literal["starting", "ready", "silent", "failed", "stopped"]
"""silent: it was ready, lives, and did not answer the last check."""


class PortPool:
    """Loopback ports for servers that take seconds to listen on theirs, so that no two are given the same one."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, preferred: int) -> int:
        """`preferred` when it is free, else one below the range that Linux takes outgoing connections from."""
        port = preferred or self._random()
        while port in self._taken or not is_port_free(port):
            port = self._random()
        self._taken.add(port)
        return port

    def hold(self, port: int) -> None:
        """The port of a server that runs already."""
        self._taken.add(port)

    def give_back(self, port: int) -> None:
        self._taken.discard(port)

    def _random(self) -> int:
        return 20_000 + secrets.randbelow(12_768)


class Servers:
    """What all revisions share: where their processes live, and how they are found again."""

    def __init__(self, *, models: ModelCache, site: ServerSite, register: ServerRegister) -> None:
        self.models = models
        self.site = site
        self.register = register
        self.ports = PortPool()
        self._forks: dict[tuple[str, ...], ForkServer] = {}

    def forks_of(self, command: tuple[str, ...]) -> ForkServer | None:
        if not command:
            return None
        if command not in self._forks:
            log_path = self.site.logs_dir / "fork_server.log"
            self._forks[command] = ForkServer(
                command,
                cwd=self.site.project_dir,
                log_path=log_path,
                folder=self.site.logs_dir.parent / "fork_servers",
                is_lasting=self.site.is_lasting,
            )
        return self._forks[command]

    def close(self) -> None:
        for each in self._forks.values():
            each.close()


class ModelFolder:
    """The model of one revision on this machine; its replicas read the same files."""

    def __init__(self, models: ModelCache, uri: str, path: Path | None) -> None:
        self.path = path
        self.is_refused = False
        """The server refused what is here: the object store's files may be in order by now."""
        self._models = models
        self._uri = uri
        self._lock = asyncio.Lock()

    @property
    def may_be_fetching(self) -> bool:
        """Whether a model is on its way that nobody else knows to be in use."""
        return bool(self._uri) and (self.is_refused or not self._is_here())

    async def fetch(self) -> None:
        """Once; and again when the server refused what is here."""
        async with self._lock:
            has_model = self._is_here()
            if not self._uri or (has_model and not self.is_refused):
                return
            try:
                fetch = functools.partial(self._models.fetch, self._uri, is_checked=has_model)
                self.path = await asyncio.to_thread(fetch)
            except Unavailable:
                if not has_model:
                    raise
            self.is_refused = False

    def _is_here(self) -> bool:
        return self.path is not None and self.path.is_dir()


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
        self._is_leaving = False
        if running:
            servers.ports.hold(record.port)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the server, letting it finish what it has begun."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._become("stopped", f"{self._record.revision} is stopped")

    async def leave(self) -> None:
        """Let go of the server: the next control plane adopts it."""
        self._is_leaving = True
        await self.stop()

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


def ready_path_of(service: str) -> str:
    return f"/v2/models/{service}/ready"


class RevisionRunner:
    """The replicas of one revision. `phase`, `message`, `ports` and `model_dir` tell how it is."""

    def __init__(
        self,
        *,
        service: str,
        service_uid: str,
        revision: str,
        template: ProcessTemplate,
        servers: Servers,
        port: int,
        model_dir: Path | None,
        running: Sequence[ModelServer],
        on_change: Callable[[], None],
    ) -> None:
        """running: servers of this revision that a control plane before us started, and that answer."""
        self.service = service
        self.revision = revision
        self._folder = ModelFolder(servers.models, template.storage_uri, model_dir)
        if forks := servers.forks_of(template.fork_command):
            forks.warm_up()
        found = {server.record.replica: server for server in running}
        self._replicas = [
            Replica(
                service=service,
                record=found[number].record
                if number in found
                else ServerRecord(
                    service_uid=service_uid, revision=revision, replica=number, port=0 if number else port
                ),
                template=template,
                folder=self._folder,
                servers=servers,
                running=found.get(number),
                on_change=on_change,
            )
            for number in range(template.num_replicas)
        ]

    @property
    def _best(self) -> Replica:
        """The one that tells how the revision is: one replica that answers is enough."""
        order: tuple[Phase, ...] = ("ready", "silent", "starting", "failed", "stopped")
        return min(self._replicas, key=lambda replica: order.index(replica.phase))

    @property
    def phase(self) -> Phase:
        return self._best.phase

    @property
    def message(self) -> str:
        return self._best.message

    @property
    def is_ready(self) -> bool:
        return self.phase == "ready"

    @property
    def has_been_ready(self) -> bool:
        return any(replica.has_been_ready for replica in self._replicas)

    @property
    def ports(self) -> tuple[int, ...]:
        """Of all replicas that have one, whether or not they answer now."""
        return tuple(replica.port for replica in self._replicas if replica.port)

    @property
    def port(self) -> int:
        return self._replicas[0].port

    @property
    def model_dir(self) -> Path | None:
        return self._folder.path

    @property
    def paths(self) -> set[Path]:
        """Of its servers in the register."""
        return {replica.path for replica in self._replicas if replica.path}

    @property
    def may_be_fetching(self) -> bool:
        return self._folder.may_be_fetching

    async def stop(self) -> None:
        await asyncio.gather(*(replica.stop() for replica in self._replicas))

    async def leave(self) -> None:
        await asyncio.gather(*(replica.leave() for replica in self._replicas))
