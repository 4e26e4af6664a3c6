"""The revisions that run on this machine, and how long one lives on after it is needed no more."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from embedded.control_plane.kserve.adoption import Key
from embedded.control_plane.kserve.commands import model_name_of
from embedded.control_plane.kserve.predictor import ProcessTemplate
from embedded.control_plane.kserve.runner import RevisionRunner
from embedded.control_plane.kserve.server import ModelServer
from embedded.control_plane.kserve.server_pool import Servers
from embedded.control_plane.kserve.status import RevisionState
from embedded.control_plane.kserve.store import RevisionRow, ServiceRow

log = logging.getLogger(__name__)
DRAIN_S = 3.0
"""How long a revision lives on after it lost its traffic: for requests under way, and for a change of mind."""


class RunnerFactory(Protocol):
    def __call__(
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
    ) -> RevisionRunner: ...


class Runners:
    """`running` has those that run, the ones that are being stopped too. Used in the event loop's thread alone."""

    def __init__(self, servers: Servers, *, make: RunnerFactory = RevisionRunner, drain_s: float = DRAIN_S) -> None:
        self.servers = servers
        self.running: dict[Key, RevisionRunner] = {}
        self._make = make
        self._drain_s = drain_s
        self._unneeded_since: dict[Key, float] = {}
        self._retiring: dict[Key, asyncio.Task[None]] = {}

    def start(
        self, service: ServiceRow, row: RevisionRow, *, living: Sequence[ModelServer], on_change: Callable[[], None]
    ) -> None:
        """living: its servers that outlived the control plane before us."""
        self.running[(service.uid, row.name)] = self._make(
            service=served_name(service, row),
            service_uid=service.uid,
            revision=row.name,
            template=row.process,
            servers=self.servers,
            port=row.port,
            model_dir=Path(row.model_dir) if row.model_dir else None,
            running=living,
            on_change=on_change,
        )

    def retire_unneeded(self, needed: set[Key], *, on_change: Callable[[], None]) -> None:
        now = asyncio.get_running_loop().time()
        for key in [key for key in self._unneeded_since if key in needed]:
            del self._unneeded_since[key]
        for key in self.running.keys() - needed - self._retiring.keys():
            since = self._unneeded_since.setdefault(key, now)
            if now - since >= self._drain_s:
                self._retiring[key] = asyncio.create_task(self._retire(key, on_change))

    def list_paths(self) -> set[Path]:
        """The files in the register of all servers that run here."""
        return {path for runner in self.running.values() for path in runner.paths}

    async def wait_retired(self) -> None:
        """Until those that are being stopped have ended."""
        await asyncio.gather(*self._retiring.values())

    async def close(self) -> None:
        """End all, or let go of them where they outlive us."""
        staying = [runner for key, runner in self.running.items() if key not in self._retiring]
        is_lasting = self.servers.site.is_lasting
        ends = (runner.leave() if is_lasting else runner.stop() for runner in staying)
        await asyncio.gather(*self._retiring.values(), *ends)
        self.servers.close()

    def has_been_ready(self, uid: str, name: str) -> bool:
        runner = self.running.get((uid, name))
        return runner is not None and runner.has_been_ready

    def state_of(self, uid: str, name: str) -> RevisionState:
        runner = self.running.get((uid, name))
        if runner is None or (uid, name) in self._retiring:
            return RevisionState(is_ready=False, message=f"{name} is not started yet")
        return RevisionState(
            is_ready=runner.is_ready,
            is_silent=runner.phase == "silent",
            is_failed=runner.phase == "failed",
            message=runner.message,
        )

    async def _retire(self, key: Key, on_change: Callable[[], None]) -> None:
        """Scale to zero. The cluster stays in Envoy until the process has finished its last requests."""
        log.info("%s is out of the traffic: stopping it", key[1])
        try:
            await self.running[key].stop()
        finally:
            del self.running[key], self._retiring[key]
            self._unneeded_since.pop(key, None)
            on_change()


def served_name(service: ServiceRow, row: RevisionRow) -> str:
    """What the servers of a revision call their model."""
    return model_name_of(row.process.command) or service.name
