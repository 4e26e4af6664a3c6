"""The model servers that outlived the control plane that started them."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import httpx

from embedded.control_plane.host.processes import stop_group
from embedded.control_plane.kserve.register import LivingServer, ServerRegister
from embedded.control_plane.kserve.server import ModelServer, ready_path_of

log = logging.getLogger(__name__)
_LOOK_EVERY_S = 30.0
_UNKNOWN_GRACE_S = 12.0
"""One without traffic may have requests under way."""

Key = tuple[str, str]
"""(uid of the service, name of the revision): a service deleted and made anew has other revisions of the same name."""


class Survivors:
    """Found once at the start; later looks find only what a start that was cut short has left."""

    def __init__(self, register: ServerRegister) -> None:
        self._register = register
        self._found: defaultdict[Key, list[ModelServer]] = defaultdict(list)
        self._looked_at = float("-inf")
        self._ending: set[asyncio.Task[None]] = set()

    async def find(self, names: Mapping[Key, str]) -> None:
        """names: what the servers of each known revision call their model. Those that do not answer are not adopted:
        one that hangs, or had only begun to start, is replaced."""
        living = await asyncio.to_thread(self._register.list_living)
        # trust_env=False: a proxy named in the environment must not get requests for loopback.
        async with httpx.AsyncClient(trust_env=False) as client:
            await asyncio.gather(*(self._try(server, names, client) for server in living))

    async def _try(self, living: LivingServer, names: Mapping[Key, str], client: httpx.AsyncClient) -> None:
        key = (living.record.service_uid, living.record.revision)
        server = ModelServer.adopt(living, self._register)
        if server is None:
            return
        if key in names and await server.answers_at(ready_path_of(names[key]), client) == httpx.codes.OK:
            self._found[key].append(server)
            log.info("%s: adopted its server, pid %d, port %d", key[1], server.pid, server.record.port)
        else:
            await server.stop(grace_s=0.0)

    def take(self, key: Key) -> list[ModelServer]:
        """Those of one revision; one of each replica, and nobody gets them again."""
        return self._found.pop(key, [])

    async def end_unknown(self, list_known: Callable[[], Collection[Path]]) -> None:
        """What nobody has taken after a pass over all revisions, and what no runner knows."""
        for key in list(self._found):
            for server in self._found.pop(key):
                self._end(server.record.revision, server.pid)
        loop = asyncio.get_running_loop()
        if loop.time() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = loop.time()
        living_now = await asyncio.to_thread(self._register.list_living)
        known = list_known()  # afterwards: one that started meanwhile is known
        for living in living_now:
            if living.path not in known:
                self._end(living.record.revision, living.pid)

    def _end(self, revision: str, pid: int) -> None:
        log.info("%s: pid %d belongs to no revision that is needed: stopping it", revision, pid)
        task = asyncio.create_task(asyncio.to_thread(stop_group, pid, grace_s=_UNKNOWN_GRACE_S))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
