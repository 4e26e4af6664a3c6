"""What serves a model, and which revision gets how much traffic."""

from collections.abc import Mapping
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class ServiceState(BaseModel):
    """An InferenceService as its status tells it: which revision is which, and who has the traffic."""

    model_config = ConfigDict(frozen=True)

    name: str
    is_ready: bool
    storage_uri: str
    """Of the latest spec."""
    canary_traffic_pct: int | None
    """Of the latest spec; None = rolled out."""
    stable_revision: str
    """`latestRolledoutRevision`; "" before the first rollout."""
    latest_ready_revision: str
    latest_created_revision: str
    traffic_pct: Mapping[str, int]
    """Revision to per cent, as routed now."""
    message: str = ""
    """Why it is not ready."""
    is_latest_ready: bool | None = None
    """Whether the latest created revision answers now (condition LatestDeploymentReady); `latest_ready_revision` only
    says that it once did. None when the server does not tell."""
    is_observed: bool = True
    """Whether the status has seen the latest spec (observedGeneration); until then it tells of an older one."""
    stable_message: str = ""
    """Why the stable revision answers nobody now; "" when it answers, or when the server tells nothing else."""
    is_failed: bool = False
    """Whether what is not ready has failed, rather than being on its way."""
    mirror_pct: int = 0
    """Per cent of the stable revision's requests of which the canary gets a copy, in force now. 0 while the canary has
    live traffic or has never been ready, and always where mirroring cannot be had (Knative on a cluster)."""

    @property
    def canary_revision(self) -> str:
        """The latest created revision while it differs from the stable one, else ""."""
        return self.latest_created_revision if self.latest_created_revision != self.stable_revision else ""


class InferenceServices(Protocol):
    def fetch(self, name: str) -> ServiceState | None: ...
    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        """Create or change the predictor; a changed storage_uri makes a new revision."""

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        """Per cent of the latest ready revision; None rolls it out."""

    def set_mirror(self, name: str, mirror_pct: int) -> None:
        """Wish that the canary gets a copy of so many per cent of the stable revision's requests while it has no live
        traffic; 0 ends it. Users never get a copy's answer. NotFound when there is no such service.

        Where mirroring cannot be had nothing happens: `ServiceState.mirror_pct`, what is in force, stays 0."""

    def delete(self, name: str) -> None: ...
