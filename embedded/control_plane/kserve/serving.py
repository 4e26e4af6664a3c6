"""The serving side of the control plane, assembled: the seam to `app.py`."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter

from embedded.control_plane.config import ControlPlaneConfig
from embedded.control_plane.kserve.gateway import EnvoyGateway
from embedded.control_plane.kserve.http_route_objects import http_route_objects
from embedded.control_plane.kserve.models import ModelCache
from embedded.control_plane.kserve.reconciler import Reconciler
from embedded.control_plane.kserve.register import ServerRegister
from embedded.control_plane.kserve.resources import InferenceServiceObjects
from embedded.control_plane.kserve.runners import Runners
from embedded.control_plane.kserve.server import ServerSite
from embedded.control_plane.kserve.server_pool import Servers
from embedded.control_plane.kserve.store import ServingStore
from embedded.control_plane.kubernetes.api import router_of
from embedded.control_plane.kubernetes.core import CoreObjects
from embedded.control_plane.kubernetes.kinds import HTTP_ROUTES, ObjectKind
from embedded.control_plane.kubernetes.writing import Endpoint, Objects
from wire.heartbeat import Heartbeat


class ServingSide:
    """InferenceServices: their API, and the model servers that they ask for.

    `start` and `stop` must run in the event loop of a thread that lives as long as the servers should: the main thread.
    """

    def __init__(self, config: ControlPlaneConfig) -> None:
        self._config = config
        self._store = ServingStore(config.data_dir / "serving.db")
        self._reconciler = Reconciler(
            store=self._store,
            runners=Runners(_servers_of(config)),
            gateway=EnvoyGateway(config.xds_dir, secrets_dir=config.secrets_dir),
            url=config.gateway_url,
        )

    @property
    def core(self) -> CoreObjects:
        """The store of all objects but the InferenceServices."""
        return self._store.core

    def router(
        self, stored: Mapping[ObjectKind, Objects] | None = None, others: Sequence[tuple[str, str, Endpoint]] = ()
    ) -> APIRouter:
        """The Kubernetes API. stored, others: further kinds and paths, as `router_of` takes them."""
        objects = InferenceServiceObjects(
            self._store,
            runtimes_dir=self._config.runtimes_dir,
            secrets_dir=self._config.secrets_dir,
            on_change=self._on_change,
        )
        http_routes = http_route_objects(self._store.core, on_change=self._reconciler.wake)
        store = self._store
        kinds = {HTTP_ROUTES: http_routes, **(stored or {})}
        token = self._config.token
        return router_of(objects, kinds, core=store.core, journal=store.journal, token=token, others=others)

    @property
    def heartbeat(self) -> Heartbeat:
        return self._reconciler.heartbeat

    @property
    def num_watchers(self) -> int:
        """Clients that watch at this moment."""
        return self._store.journal.num_watchers

    async def start(self) -> None:
        """Adopt the model servers that outlived the control plane before; start the others, and keep all as asked."""
        await self._reconciler.start()

    async def stop(self) -> None:
        await self._reconciler.stop()
        self._store.close()

    def _on_change(self, uid: str) -> None:
        """The answer to the author shows the new status already: nobody takes the old "ready" for the new spec's."""
        self._reconciler.refresh_status(uid)
        self._reconciler.wake()


def _servers_of(config: ControlPlaneConfig) -> Servers:
    return Servers(
        models=ModelCache(config.data_dir / "models", secrets_dir=config.secrets_dir),
        site=ServerSite(
            logs_dir=config.data_dir / "model_server_logs",
            secrets_dir=config.secrets_dir,
            project_dir=config.project_dir,
            is_lasting=config.leaves_model_servers,
        ),
        register=ServerRegister(config.data_dir / "model_servers"),
    )
