"""ports.InferenceServices in memory, by KServe's rule. A revision becomes ready when it is looked at, unless it is told
not to (`never_ready`, by storage URI). Without `can_mirror` it is like Knative on a cluster, which mirrors nothing."""

from dataclasses import dataclass, field

from embedded.control_plane.kserve.revisions import Rollout, converge, percent_by_revision, revision_name
from ratchet.core.errors import NotFound
from ratchet.core.ports import ServiceState


@dataclass
class _Service:
    storage_uri: str = ""
    canary_traffic_pct: int | None = None
    num_revisions: int = 0
    rollout: Rollout = field(default_factory=Rollout)
    traffic_pct: dict[str, int] = field(default_factory=dict)
    mirror_pct: int = 0


class FakeInferenceServices:
    def __init__(self) -> None:
        self.never_ready: set[str] = set()
        self.can_mirror = True
        self._services: dict[str, _Service] = {}

    def fetch(self, name: str) -> ServiceState | None:
        service = self._services.get(name)
        if service is None:
            return None
        is_latest_ready = service.storage_uri not in self.never_ready
        self._reconcile(service, is_latest_ready=is_latest_ready)
        return ServiceState(
            name=name,
            is_ready=is_latest_ready,
            storage_uri=service.storage_uri,
            canary_traffic_pct=service.canary_traffic_pct,
            stable_revision=service.rollout.latest_rolled_out,
            latest_ready_revision=service.rollout.latest_ready,
            latest_created_revision=service.rollout.latest_created,
            traffic_pct=dict(service.traffic_pct),
            message="" if is_latest_ready else f"{service.rollout.latest_created}: the server stopped while starting",
            is_latest_ready=is_latest_ready,
            stable_message=self._stable_message(service, is_latest_ready=is_latest_ready),
            is_failed=not is_latest_ready,
            mirror_pct=self._mirror_pct_of(service),
        )

    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        service = self._services.setdefault(name, _Service())
        if storage_uri != service.storage_uri:
            service.storage_uri = storage_uri
            service.num_revisions += 1
            created = revision_name(name, service.num_revisions)
            service.rollout = service.rollout.model_copy(update={"latest_created": created})
        service.canary_traffic_pct = canary_traffic_pct

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        if name not in self._services:
            raise NotFound(f"There is no InferenceService {name}.")
        self._services[name].canary_traffic_pct = canary_traffic_pct

    def set_mirror(self, name: str, mirror_pct: int) -> None:
        if name not in self._services:
            raise NotFound(f"There is no InferenceService {name}.")
        self._services[name].mirror_pct = mirror_pct

    def delete(self, name: str) -> None:
        self._services.pop(name, None)

    def _stable_message(self, service: _Service, *, is_latest_ready: bool) -> str:
        is_stable_latest = service.rollout.latest_created == service.rollout.latest_rolled_out
        is_down = is_stable_latest and not is_latest_ready
        return f"{service.rollout.latest_created}: the weights are for another network" if is_down else ""

    def _mirror_pct_of(self, service: _Service) -> int:
        """What is in force: only a canary that has been ready, and has no live traffic, gets copies."""
        rollout = service.rollout
        is_dark = rollout.latest_created == rollout.latest_ready != rollout.latest_rolled_out != ""
        is_dark = is_dark and not service.traffic_pct.get(rollout.latest_ready)
        return service.mirror_pct if self.can_mirror and is_dark else 0

    def _reconcile(self, service: _Service, *, is_latest_ready: bool) -> None:
        rollout = service.rollout
        if is_latest_ready:
            rollout = rollout.model_copy(update={"latest_ready": rollout.latest_created})
        service.rollout, targets = converge(rollout, canary_traffic_pct=service.canary_traffic_pct)
        service.traffic_pct = dict(percent_by_revision(targets))
