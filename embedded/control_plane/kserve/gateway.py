"""Telling Envoy about clusters and routes: files that it watches, and its admin interface to see that it read them."""

import asyncio
import json
import logging
import re
import tempfile
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from embedded.control_plane.kserve.models import STORAGE_SECRET
from embedded.control_plane.kserve.xds.clusters import render_clusters
from embedded.control_plane.kserve.xds.discovery import fallback_of
from embedded.control_plane.kserve.xds.routes import render_routes
from embedded.control_plane.kserve.xds.services import Endpoint, RoutedService

log = logging.getLogger(__name__)
_ACK_WITHIN_S = 5.0
"""Envoy takes a new cluster in after its first health checks, 1 s apart; beyond this the next pass asks again."""
_POLL_S_MIN, _POLL_S_MAX = 0.002, 0.02
"""Envoy takes a file in within 2 to 10 ms; polling it every 20 ms would double that."""
_BLIND_WAIT_S = 1.0
"""How long Envoy gets to take a file in when its admin interface is not known. It needed 5 to 20 ms."""


class EnvoyGateway:
    """One gateway. `apply` moves the traffic; it says no, and changes no route, while Envoy lacks a revision."""

    def __init__(self, xds_dir: Path, *, secrets_dir: Path) -> None:
        self._xds_dir = xds_dir
        self._admin = secrets_dir / STORAGE_SECRET / "RATCHET_ENVOY_ADMIN_ENDPOINT"
        self._guard_token = secrets_dir / STORAGE_SECRET / "RATCHET_GUARD_TOKEN"
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._has_applied = False

    async def apply(
        self,
        endpoints: Iterable[Endpoint],
        services: Iterable[RoutedService],
        *,
        before: Iterable[RoutedService],
        healthy: Collection[str],
    ) -> bool:
        """Clusters first, and only when Envoy has them and finds the `healthy` ones so, the routes: a route to a
        cluster that Envoy does not know would answer 503. False when Envoy was too slow; try again.

        Routes to revisions that had some before, and that Envoy finds healthy, need no cluster anew: they change at
        once, as traffic must when it is taken from a bad revision. The caller tidies up with `update_clusters`."""
        endpoints, services, before = tuple(endpoints), tuple(services), tuple(before)
        routes = render_routes(services, feedback_token=self._feedback_token())
        routed = _routed_in(services).intersection(healthy)
        wanted = [endpoint for endpoint in endpoints if endpoint.revision in routed]
        can_go_on = self._has_applied and _has_all(services, before=before)
        if not can_go_on or not await self._wait(lambda admin: _are_healthy(admin, wanted), within_s=0):
            clusters = render_clusters(endpoints, services, before=before)
            self._write("cds.json", clusters)
            if not await self._wait(lambda admin: _has_clusters(admin, clusters, wanted)):
                log.warning("Envoy has not loaded clusters %s; the traffic stays unchanged", clusters["version_info"])
                return False
        self._write("rds.json", routes)
        self._has_applied = await self._wait(lambda admin: _has_version(admin, "rds.model_routes", routes))
        return self._has_applied

    def update_clusters(self, endpoints: Iterable[Endpoint], services: Iterable[RoutedService]) -> None:
        """The clusters alone, for changes that move no traffic."""
        self._write("cds.json", render_clusters(tuple(endpoints), tuple(services)))

    def _feedback_token(self) -> str:
        return self._guard_token.read_text().strip() if self._guard_token.is_file() else ""

    def _write(self, name: str, document: dict[str, Any]) -> bool:
        """Replace a watched file at once; False when it says that already. Envoy reads on a rename into the folder."""
        if self._read(name) == document:
            return False
        self._xds_dir.mkdir(parents=True, exist_ok=True)
        # Beside the watched folder, on its file system: half a file there would wake Envoy, and rename is atomic.
        with tempfile.NamedTemporaryFile("w", dir=self._xds_dir.parent, prefix=f".{name}.", delete=False) as file:
            json.dump(document, file)
        Path(file.name).rename(self._xds_dir / name)
        return True

    def _read(self, name: str) -> Any:
        with suppress(FileNotFoundError, ValueError):
            return json.loads((self._xds_dir / name).read_text())
        return None

    async def _wait(
        self, is_done: Callable[[httpx.AsyncClient], Awaitable[bool]], *, within_s: float = _ACK_WITHIN_S
    ) -> bool:
        """Until Envoy says so; asks once at least. An Envoy that does not answer is not up: it will read both files
        when it starts."""
        if not self._admin.is_file():
            await asyncio.sleep(_BLIND_WAIT_S)
            return True
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + within_s, _POLL_S_MIN
        endpoint = self._admin.read_text().strip()
        if endpoint not in self._clients:
            self._clients[endpoint] = admin_client(endpoint)
        admin = self._clients[endpoint]
        while True:
            try:
                if await is_done(admin):
                    return True
            except httpx.ConnectError:
                return True
            except httpx.HTTPError as error:
                log.debug("Envoy's admin interface: %s", error)
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(pause_s)
            pause_s = min(1.5 * pause_s, _POLL_S_MAX)


def _has_all(services: Iterable[RoutedService], *, before: Iterable[RoutedService]) -> bool:
    """Whether the clusters of `before` do: a revision that only got copies has no `.fallback`, and traffic needs it."""
    routed, routed_before = _routed_in(services), _routed_in(before)
    return routed <= routed_before and _mirrored_in(services) <= routed_before | _mirrored_in(before)


def _routed_in(services: Iterable[RoutedService]) -> set[str]:
    return {name for service in services for name in service.routed}


def _mirrored_in(services: Iterable[RoutedService]) -> set[str]:
    return {service.mirror.revision for service in services if service.mirror}


def admin_client(endpoint: str) -> httpx.AsyncClient:
    """For `http://127.0.0.1:9901` or `unix:///path/of/admin.sock`."""
    path = endpoint.removeprefix("unix://")
    transport = httpx.AsyncHTTPTransport(uds=path) if path != endpoint else None
    base_url = "http://envoy" if transport else endpoint
    return httpx.AsyncClient(transport=transport, base_url=base_url, timeout=2.0, trust_env=False)


async def _has_clusters(admin: httpx.AsyncClient, clusters: dict[str, Any], wanted: Iterable[Endpoint]) -> bool:
    """Whether Envoy works with these clusters, and has found the wanted ones healthy."""
    if not await _has_version(admin, "cluster_manager.cds", clusters):
        return False
    known = (await admin.get("/clusters")).text
    return await _are_healthy(admin, wanted) and all(f"{fallback_of(each.revision)}::" in known for each in wanted)


async def _are_healthy(admin: httpx.AsyncClient, wanted: Iterable[Endpoint]) -> bool:
    known = (await admin.get("/clusters")).text
    return all(
        any(f"{each.revision}::127.0.0.1:{port}::health_flags::healthy" in known for port in each.ports)
        for each in wanted
    )


async def _has_version(admin: httpx.AsyncClient, name: str, document: dict[str, Any]) -> bool:
    stats = (await admin.get("/stats", params={"filter": rf"{re.escape(name)}\.version_text"})).text
    return f'"{document["version_info"]}"' in stats
