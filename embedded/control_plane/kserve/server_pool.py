"""What the servers of all revisions share on this machine: ports, fork servers, the models' folder, the register."""

import secrets

from embedded.control_plane.host.processes import is_port_free
from embedded.control_plane.kserve.forks import ForkServer
from embedded.control_plane.kserve.models import ModelCache
from embedded.control_plane.kserve.register import ServerRegister
from embedded.control_plane.kserve.server import ServerSite


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
        return 20_000 + secrets.randbelow(12_768)  # to 32,767: above, Linux takes ports for outgoing connections


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
