"""One model server as the control plane holds it: started fresh, forked, or adopted from a control plane before."""

import asyncio
import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from pydantic import BaseModel, ConfigDict

from embedded.control_plane.host.child_env import child_env
from embedded.control_plane.host.held import Held
from embedded.control_plane.host.processes import process_stat, stop_group, tethered
from embedded.control_plane.kserve.commands import exit_text
from embedded.control_plane.kserve.forks import ForkFailed, ForkServer
from embedded.control_plane.kserve.register import Entered, LivingServer, ServerRecord, ServerRegister

log = logging.getLogger(__name__)
_PROBE_TIMEOUT_S = 1.5
"""Longer than the 1 s of Envoy's own checks: who loses the traffic for a moment is not yet killed for it."""


class Start(BaseModel):
    """All that a process is started with."""

    model_config = ConfigDict(frozen=True)

    command: tuple[str, ...]
    env: Mapping[str, str]
    fork_args: tuple[str, ...] | None = None
    """What the command has beyond its runtime's, where a fork server may take the process's place."""


class ServerSite(BaseModel):
    """Where model servers live on this machine."""

    model_config = ConfigDict(frozen=True)

    logs_dir: Path
    secrets_dir: Path
    project_dir: Path
    start_within_s: float = 120.0
    """Deadline from the start of the process to its first "ready"."""
    is_lasting: bool = False
    """Whether model servers outlive the control plane."""


class ModelServer:
    """A living process and its file in the register. `record` says where it is found."""

    def __init__(self, held: Held, record: ServerRecord, path: Path, register: ServerRegister) -> None:
        self.record = record
        self.path = path
        self._held = held
        self._register = register
        self._code: int | None = None

    @classmethod
    def adopt(cls, living: LivingServer, register: ServerRegister) -> "ModelServer | None":
        """None when it has ended meanwhile."""
        with suppress(ProcessLookupError):
            return cls(Held(living.pid), living.record, living.path, register)
        return None

    @property
    def pid(self) -> int:
        return self._held.pid

    @property
    def has_ended(self) -> bool:
        return self._held.has_ended

    @property
    def cpu_s(self) -> float:
        stat = process_stat(self.pid)
        return stat.cpu_s if stat else 0.0

    async def wait(self, timeout_s: float) -> bool:
        """Whether it has ended by then."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._held.ended(), timeout_s)
        return self.has_ended

    async def exit_code(self) -> int | None:
        """Once it has ended. None for one that a control plane before us started and that left no word."""
        code, said = await self._held.wait(), self._register.take_exit_code(self.path)
        self._code = code if code is not None else said if said is not None else self._code
        return self._code

    async def exit_text(self) -> str:
        code = await self.exit_code()
        return "it ended" if code is None else exit_text(code)

    async def stop(self, *, grace_s: float) -> None:
        # Shielded: when the replica that waits here is cancelled, its process is stopped all the same.
        await asyncio.shield(asyncio.to_thread(stop_group, self.pid, grace_s=grace_s))
        if await self.wait(1.0):
            await self.exit_code()

    async def answers_at(self, path: str, client: httpx.AsyncClient) -> int | None:
        """The status of one GET; None when there was no answer in time."""
        try:
            url = f"http://127.0.0.1:{self.record.port}{path}"
            return (await client.get(url, timeout=_PROBE_TIMEOUT_S)).status_code
        except httpx.HTTPError:
            return None


async def start_server(
    start: Start,
    server: Entered,
    *,
    log_path: Path,
    register: ServerRegister,
    site: ServerSite,
    forks: ForkServer | None,
) -> ModelServer:
    """By the runtime's fork server where there is one, else, or when it has died, as a process of its own."""
    record, path, fd = server
    try:
        with log_path.open("ab") as log:
            if forks and start.fork_args is not None:
                pid = await _fork(start.fork_args, server, forks, start.env, log.fileno(), register=register, site=site)
                with suppress(ProcessLookupError):
                    if pid:
                        return ModelServer(Held(pid), record, path, register)
            # From the event loop's thread, which lives as long as we do: the kernel ties a tether to its thread.
            child = subprocess.Popen(
                list(start.command) if site.is_lasting else tethered(start.command),
                cwd=site.project_dir,
                env=child_env({"PYTHONPATH": str(site.project_dir), **start.env}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(fd,),
            )
            return ModelServer(Held(child.pid, child), record, path, register)
    finally:
        os.close(fd)


async def _fork(
    args: Sequence[str],
    server: Entered,
    forks: ForkServer,
    env: Mapping[str, str],
    log_fd: int,
    *,
    register: ServerRegister,
    site: ServerSite,
) -> int:
    """Its pid; 0 when the fork server has died, and no process of it holds the server's file."""
    try:
        return await forks.fork(args, env=env, fds=(server.fd, log_fd), within_s=site.start_within_s)
    except ForkFailed as failure:
        log.warning("%s: %s; starting it without", server.record.revision, failure)
        living = await asyncio.to_thread(register.find, server.path)
        return living.pid if living else 0


def ready_path_of(service: str) -> str:
    return f"/v2/models/{service}/ready"
