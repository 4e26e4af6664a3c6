"""A revision at work: fetch the model, start the server, wait until it is ready, watch it, restart it when it dies."""

import asyncio
import functools
import logging
import re
import secrets
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict

from embedded.control_plane.serving_models import ModelCache
from embedded.control_plane.serving_predictor import MOUNT, ProcessTemplate
from embedded.control_plane.serving_runtimes import EnvVar
from embedded.processes import is_port_free, stop_group, tethered
from ratchet.core.errors import DataRejected, RatchetError, Unavailable
from ratchet.settings import MODEL_DIGEST_VARIABLE, child_env

log = logging.getLogger(__name__)
_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_STOP_GRACE_S = 12.0
"""A server that is told to stop finishes the requests it has; KServe's own limit is 10 s."""
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.2, 30.0
_STABLE_AFTER_S = 60.0
"""Whoever lived this long has earned a quick restart again."""
_TAIL_NUM_LINES, _TAIL_NUM_CHARS, _CAUSE_NUM_CHARS = 12, 1500, 1000
_ERROR_LINE = re.compile(r"(?:ERROR|CRITICAL)[ :]+(?:[\w.]+: )?(.+)")
_DIGEST_AT_END = re.compile(r"/([0-9a-f]{64})/?$")
"""A URI that names its model by digest. The server is told, and compares the folder before it runs anything of it."""
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")

Phase = Literal["starting", "ready", "failed", "stopped"]


class ServerSite(BaseModel):
    """Where model servers live on this machine."""

    model_config = ConfigDict(frozen=True)

    logs_dir: Path
    secrets_dir: Path
    project_dir: Path
    start_within_s: float = 120.0
    """Deadline from the start of the process to its first "ready"."""


class StartFailed(Exception):
    """The message is for the InferenceService's conditions: what failed, and the end of the log."""


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

    def give_back(self, port: int) -> None:
        self._taken.discard(port)

    def _random(self) -> int:
        return 20_000 + secrets.randbelow(12_768)


class RevisionRunner:
    """Keeps one revision running until `stop`. `phase`, `message`, `port` and `model_dir` tell how it is."""

    def __init__(
        self,
        *,
        service: str,
        revision: str,
        template: ProcessTemplate,
        models: ModelCache,
        site: ServerSite,
        ports: PortPool,
        port: int,
        model_dir: Path | None,
        on_change: Callable[[], None],
    ) -> None:
        self.service = service
        self.revision = revision
        self.phase: Phase = "starting"
        self.message = f"{revision} is starting"
        self.port = port
        self.model_dir = model_dir
        self.has_been_ready = False
        self._template = template
        self._models = models
        self._site = site
        self._ports = ports
        self._on_change = on_change
        self._log = site.logs_dir / f"{revision}.log"
        self._log_start = 0
        self._is_model_refused = False
        self._task = asyncio.create_task(self._run())

    @property
    def is_ready(self) -> bool:
        return self.phase == "ready"

    @property
    def may_be_fetching(self) -> bool:
        """Whether a model is on its way that nobody else knows to be in use."""
        has_model = self.model_dir is not None and self.model_dir.is_dir()
        return bool(self._template.storage_uri) and (self._is_model_refused or not has_model)

    async def stop(self) -> None:
        """End the server, letting it finish what it has begun."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._become("stopped", f"{self.revision} is stopped")

    async def _run(self) -> None:
        backoff_s = _BACKOFF_S_MIN
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            try:
                await self._serve_once()
            except (StartFailed, RatchetError) as failure:
                self._become("failed", f"{self.revision}: {failure}")
            except Exception as failure:
                log.exception("%s cannot be started", self.revision)
                self._become("failed", f"{self.revision}: cannot be started: {failure}")
            lived_long = loop.time() - started_at > _STABLE_AFTER_S
            backoff_s = _BACKOFF_S_MIN if lived_long else backoff_s
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)

    async def _serve_once(self) -> None:
        """One life of the process. Ends with StartFailed, for a server has no reason to end by itself."""
        await self._fetch_model()
        self.port = self._ports.take(self.port)
        try:
            process = self._spawn()
            try:
                await self._watch(process)
            finally:
                await asyncio.shield(asyncio.to_thread(stop_group, process.pid, grace_s=_STOP_GRACE_S))
        finally:
            self._ports.give_back(self.port)

    async def _fetch_model(self) -> None:
        """Once; and again when the server refused what is here: the object store's files may be in order by now."""
        has_model = self.model_dir is not None and self.model_dir.is_dir()
        if not self._template.storage_uri or (has_model and not self._is_model_refused):
            return
        try:
            fetch = functools.partial(self._models.fetch, self._template.storage_uri, is_checked=has_model)
            self.model_dir = await asyncio.to_thread(fetch)
        except Unavailable:
            if not has_model:
                raise
        self._is_model_refused = False

    async def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        await self._wait_ready(process)
        self.has_been_ready = True
        self._become("ready", f"{self.revision} is ready")
        while process.poll() is None:
            await asyncio.sleep(_POLL_S)
        raise StartFailed(self._with_tail(f"the server died ({_exit_text(process.returncode)}) and is restarted"))

    def _spawn(self) -> "subprocess.Popen[bytes]":
        """From the event loop's thread, which lives as long as we do: the kernel ties the child to its thread."""
        env = env_of(self._template.env, self._site.secrets_dir)
        env["PORT"] = str(self.port)
        if digest := _DIGEST_AT_END.search(self._template.storage_uri):
            env.setdefault(MODEL_DIGEST_VARIABLE, digest[1])
        mount = str(self.model_dir) if self.model_dir else MOUNT
        command = command_of(self._template.command, env=env, port=self.port, mount=mount)
        self._site.logs_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                tethered(command),
                cwd=self._site.project_dir,
                env=child_env({"PYTHONPATH": str(self._site.project_dir)} | mounted(env, mount)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def _wait_ready(self, process: "subprocess.Popen[bytes]") -> None:
        url = f"http://127.0.0.1:{self.port}/v2/models/{self.service}/ready"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._site.start_within_s
        async with httpx.AsyncClient(timeout=_PROBE_TIMEOUT_S, trust_env=False) as client:
            while loop.time() < deadline:
                if process.poll() is not None:
                    self._is_model_refused = process.returncode == DataRejected.exit_code
                    cause = cause_in(self._written())
                    what = f"the server stopped while starting ({_exit_text(process.returncode)})"
                    raise StartFailed(self._with_tail(f"{cause.rstrip('.')} ({what})" if cause else what))
                with suppress(httpx.HTTPError):
                    if (await client.get(url)).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(_POLL_S)
        raise StartFailed(self._with_tail(f"{url} was not ready within {self._site.start_within_s:g} s"))

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
        self._on_change()


def cause_in(text: str) -> str:
    """A server's own last word: its last line of level ERROR or CRITICAL, else its last line; "" for an empty log."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [found[1] for line in lines if (found := _ERROR_LINE.match(line))]
    return (errors or lines or [""])[-1][:_CAUSE_NUM_CHARS]


def command_of(command: tuple[str, ...], *, env: Mapping[str, str], port: int, mount: str) -> list[str]:
    """The command of a container as it runs without one.

    On a cluster each container has a network and a file system of its own; here `--http_port` and `--host` get this
    process's port and the loopback address, and MOUNT the folder that the model was downloaded to. `$(NAME)` is
    expanded as Kubernetes does it, PORT among them. A command that names no port at all gets `--http_port` appended.
    """
    words = [_REFERENCE.sub(lambda found: env.get(found[1], found[0]), word) for word in command]
    words = _with_option(words, "--http_port", str(port))
    words = _with_option(words, "--host", "127.0.0.1")
    has_port = any("$(PORT)" in word or word.startswith("--http_port") for word in command)
    words = words if has_port else [*words, f"--http_port={port}"]
    return [word.replace(MOUNT, mount) for word in words]


def model_name_of(command: tuple[str, ...]) -> str:
    """What the server calls its model; the last --model_name counts, as the server reads it. "" when it names none."""
    name = ""
    for index, word in enumerate(command):
        if word.startswith("--model_name="):
            name = word.partition("=")[2]
        elif index and command[index - 1] == "--model_name":
            name = word
    return name


def _with_option(words: list[str], option: str, value: str) -> list[str]:
    """Give an option another value, where the command has it: `--option X` or `--option=X`."""
    replaced = [f"{option}={value}" if word.startswith(f"{option}=") else word for word in words]
    return [value if index and replaced[index - 1] == option else word for index, word in enumerate(replaced)]


def env_of(variables: tuple[EnvVar, ...], secrets_dir: Path) -> dict[str, str]:
    """Names and values; RatchetError when a secret has gone since the manifest was accepted."""
    env: dict[str, str] = {}
    for variable in variables:
        if variable.source is None:
            env[variable.name] = _REFERENCE.sub(lambda found: env.get(found[1], found[0]), variable.value)
            continue
        path = secrets_dir / variable.source.secret / variable.source.key
        if path.is_file():
            env[variable.name] = path.read_text()
        elif not variable.source.is_optional:
            raise StartFailed(f"env {variable.name}: {path} is gone. Put the secret back, or change the manifest.")
    return env


def mounted(env: Mapping[str, str], mount: str) -> dict[str, str]:
    return {name: value.replace(MOUNT, mount) for name, value in env.items()}


def _exit_text(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
