"""Who gets the traffic: what the gateway was told last, and telling it what services and HTTPRoutes ask for now."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from embedded.control_plane.kserve.gateway import EnvoyGateway
from embedded.control_plane.kserve.http_routes import Routing, render_route_status, route_key, routing_of
from embedded.control_plane.kserve.revisions import (
    Rollout,
    TrafficTarget,
    mirrored_revision,
    percent_by_revision,
    routed_revisions,
    standard_revision,
)
from embedded.control_plane.kserve.runners import Runners
from embedded.control_plane.kserve.store import ServiceRow, ServingStore
from embedded.control_plane.kserve.xds.services import Endpoint, Mirror, RoutedService
from embedded.control_plane.kubernetes.core import rfc3339
from embedded.control_plane.kubernetes.kinds import HTTP_ROUTES
from embedded.control_plane.kubernetes.metadata import FOREGROUND, is_standard, mirror_pct_of


class Plan(NamedTuple):
    """What one service needs now."""

    service: ServiceRow
    rollout: Rollout
    """With the markers as they will be once `targets` flows."""
    targets: tuple[TrafficTarget, ...]
    can_move: bool
    """Whether everybody who is to get traffic is ready."""
    needed: frozenset[str]


class Traffic:
    """The gateway's routes. `applied` is what they say, or will say after the first pass."""

    def __init__(self, store: ServingStore, runners: Runners, gateway: EnvoyGateway) -> None:
        self._store = store
        self._runners = runners
        self._gateway = gateway
        rows = store.list_services()
        self.applied = {row.name: _routed_service(row.name, row.routed) for row in rows if not is_standard_row(row)}
        self.applied |= {routing.service.name: routing.service for routing in self._routings(known_as_ready=True)}
        self._is_synced = False

    async def route(self, plan: Plan) -> bool:
        """Whether the gateway has the service's routes as planned."""
        wanted, name = self._routed_service(plan), plan.service.name
        return self.applied.get(name) == wanted or await self._apply({**self.applied, name: wanted})

    def update_clusters(self) -> None:
        self._gateway.update_clusters(self._endpoints(), self.applied.values())

    async def drop_deleted(self, names: set[str]) -> None:
        """Routes of services that are gone go first; their processes follow after the drain."""
        routings = {routing.service.name: routing for routing in self._routings()}
        kept = {name: service for name, service in self.applied.items() if name in names or name in routings}
        kept |= {name: _without(kept[name], routings[name].missing) for name in routings if name in kept}
        if kept != self.applied or not self._is_synced:
            # In the first pass too, where the gateway's files may have been lost or be older than the store, and what
            # was deleted right before the last control plane was killed has no process any more.
            is_done = await self._apply(kept)
            self._is_synced = self._is_synced or is_done

    def _routings(self, *, known_as_ready: bool = False) -> list[Routing]:
        return [
            self._routing(route, known_as_ready=known_as_ready)
            for route in self._store.core.list_objects(HTTP_ROUTES, None)
        ]

    def _routing(self, route: dict[str, Any], *, known_as_ready: bool = False) -> Routing:
        """`known_as_ready` is for the start, when what a route says is what the gateway was told last."""
        namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
        rows = [row for row in self._store.list_services() if is_standard_row(row) and row.namespace == namespace]
        known = {standard_revision(row.name): row.uid for row in rows if not is_ending(row)}
        ready = [each for each, uid in known.items() if self._runners.has_been_ready(uid, each)]
        if known_as_ready:
            placed = {row.name for uid in known.values() for row in self._store.list_revisions(uid) if row.port}
            known, ready = {each: known[each] for each in placed}, list(placed)
        before = self.applied.get(route_key(namespace, name)) if not known_as_ready else None
        routing = routing_of(route, known=known, ready=ready, before=before)
        problem = "" if known_as_ready else self._problem_of({each: known[each] for each in routing.service.routed})
        return routing._replace(service=routing.service.model_copy(update={"problem": problem}))

    async def move_route(self, route: dict[str, Any]) -> None:
        """Route as it says, as far as its backends can take it, and tell so in its status."""
        routing = self._routing(route)
        wanted, name = routing.service, routing.service.name
        is_routed = self.applied.get(name) == wanted or await self._apply({**self.applied, name: wanted})
        fresh = self._store.core.fetch(HTTP_ROUTES, route["metadata"]["namespace"], route["metadata"]["name"])
        # Changed while the gateway was awaited: this status is of the spec before.
        if fresh is None or fresh["metadata"] != route["metadata"]:
            return
        status = render_route_status(route, routing, is_routed=is_routed, now=rfc3339(datetime.now(UTC)))
        if status != route.get("status"):
            self._store.core.put(HTTP_ROUTES, {**route, "status": status})

    def _routed_service(self, plan: Plan) -> RoutedService:
        """As it should be now: a revision gets copies once it has been ready, also when it dies later."""
        service, targets = plan.service, plan.targets if plan.can_move else plan.service.routed
        percent, revision = mirror_pct_of(service.manifest["metadata"]), mirrored_revision(plan.rollout, targets)
        is_mirrored = percent and routed_revisions(targets) and self._runners.has_been_ready(service.uid, revision)
        mirror = Mirror(revision=revision, percent=percent) if is_mirrored else None
        routed = _routed_service(service.name, targets)
        problem = self._problem_of(dict.fromkeys(routed.routed or [plan.rollout.latest_created], service.uid))
        return routed.model_copy(update={"mirror": mirror, "problem": problem})

    def _problem_of(self, uid_by_revision: Mapping[str, str]) -> str:
        """Why nobody answers: of the first that failed, else of the first that is on its way; "" when one is ready."""
        states = [self._runners.state_of(uid, name) for name, uid in sorted(uid_by_revision.items())]
        if any(state.is_ready or state.is_silent for state in states):  # Envoy finds out itself who is silent
            return ""
        messages = [state.message for state in sorted(states, key=lambda state: not state.is_failed)]
        return messages[0].partition("\n")[0] if messages else ""

    def mirror_pct_of(self, service: ServiceRow) -> int:
        applied = self.applied.get(service.name)
        return applied.mirror.percent if applied and applied.mirror else 0

    async def _apply(self, services: dict[str, RoutedService]) -> bool:
        is_done = await self._gateway.apply(
            self._endpoints(),
            services.values(),
            before=self.applied.values(),
            healthy={runner.revision for runner in self._runners.running.values() if runner.is_ready},
        )
        if is_done:
            self.applied = services
        return is_done

    def _endpoints(self) -> list[Endpoint]:
        """Every revision that has been ready, and those that have traffic while they are being started again."""
        current = {service.uid: service for service in self._store.list_services()}
        endpoints: dict[str, Endpoint] = {}
        # Revisions of existing services last: of a service deleted and made anew, theirs takes the name.
        for (_, name), runner in sorted(self._runners.running.items(), key=lambda item: item[0][0] in current):
            is_routed = any(name in service.routed for service in self.applied.values())
            if runner.ports and (runner.has_been_ready or is_routed):
                endpoints[name] = Endpoint(service=runner.service, revision=name, ports=runner.ports)
        return list(endpoints.values())


def _routed_service(name: str, targets: Iterable[TrafficTarget]) -> RoutedService:
    return RoutedService(name=name, percent_by_revision=dict(percent_by_revision(targets)))


def is_standard_row(service: ServiceRow) -> bool:
    return is_standard(service.manifest["metadata"])


def _without(service: RoutedService, revisions: Iterable[str]) -> RoutedService:
    """Who is gone gets nothing any more, neither requests nor copies."""
    shares = {name: share for name, share in service.percent_by_revision.items() if name not in set(revisions)}
    mirror = service.mirror if service.mirror and service.mirror.revision not in set(revisions) else None
    return service.model_copy(update={"percent_by_revision": shares, "mirror": mirror})


def is_ending(service: ServiceRow) -> bool:
    """Deleted in the foreground: it lives until its processes have ended. With other finalizers alone it serves on."""
    metadata = service.manifest["metadata"]
    return "deletionTimestamp" in metadata and FOREGROUND in (metadata.get("finalizers") or ())
