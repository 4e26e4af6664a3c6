"""A revision at work: its replicas, which read the same model."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from embedded.control_plane.kserve.model_folder import ModelFolder
from embedded.control_plane.kserve.predictor import ProcessTemplate
from embedded.control_plane.kserve.register import ServerRecord
from embedded.control_plane.kserve.replica import Phase, Replica
from embedded.control_plane.kserve.server import ModelServer
from embedded.control_plane.kserve.server_pool import Servers


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
                    # The store remembers the port of the first replica alone.
                    service_uid=service_uid,
                    revision=revision,
                    replica=number,
                    port=0 if number else port,
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
