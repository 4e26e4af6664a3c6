"""What the deeds need from the outside world, as Protocols. Adapters implement them, fakes too."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from ratchet.core.dataset import DatasetShard, Manifest
from ratchet.core.labels import LabelShard
from ratchet.core.ledger import LedgerEntry, ModelRef


class ObjectStore(Protocol):
    """Objects of an S3 bucket, by `s3://bucket/key` URI. Raises NotFound, Conflict, Unavailable, SettingsError."""

    def put(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None: ...
    def put_if_absent(self, uri: str, data: bytes) -> None:
        """Raises Conflict when the object is there already."""

    def fetch(self, uri: str) -> bytes: ...
    def exists(self, uri: str) -> bool: ...
    def list_uris(self, prefix_uri: str, *, start_after: str = "") -> Iterator[str]:
        """URIs under a prefix in key order; `start_after` is a URI of the same bucket."""

    def put_directory(self, path: Path, uri: str) -> None: ...
    def fetch_directory(self, uri: str, path: Path) -> None: ...
    def delete(self, uri: str) -> None: ...


class LabelStore(Protocol):
    def list_shards(self, task: str, *, after: str = "") -> Sequence[LabelShard]:
        """Shards of a task whose key sorts after `after`, in key order: O(new)."""

    def fetch_shard(self, key: str) -> bytes: ...
    def put_shard(self, task: str, data: bytes, *, num_labels: int) -> str:
        """Store an immutable shard; gives its key."""


class DatasetStore(Protocol):
    def list_versions(self, task: str) -> Sequence[str]:
        """Tags `<task>/v<n>`, oldest first."""

    def fetch_manifest(self, version: str) -> Manifest: ...
    def fetch_shard(self, shard: DatasetShard) -> bytes:
        """The Parquet bytes, checked against the shard's sha256."""

    def commit_version(self, manifest: Manifest, new_shards: Mapping[str, bytes]) -> None:
        """Push blobs, then commit and tag; Conflict when the tag is there already. `new_shards`: path to bytes."""


class Ledger(Protocol):
    def list_entries(self, task: str) -> Sequence[LedgerEntry]: ...
    def append(self, entry: LedgerEntry) -> None:
        """Compare-and-swap on `entry.seq`; Conflict when that place is taken."""


class Registry(Protocol):
    def register(self, task: str, uri: str, *, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
        """A new version of the registered model `task`; gives its number. The same uri twice gives the same version."""

    def set_alias(self, task: str, alias: str, version: str) -> None: ...
    def remove_alias(self, task: str, alias: str) -> None: ...
    def fetch_aliases(self, task: str) -> Mapping[str, str]:
        """Alias to version."""


class RunState(BaseModel):
    """One pipeline run as KFP tells it."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    name: str
    state: str
    """PENDING RUNNING SUCCEEDED SKIPPED FAILED CANCELING CANCELED PAUSED."""
    error: str = ""

    @property
    def is_finished(self) -> bool:
        return self.state in {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}


class Pipelines(Protocol):
    def submit(self, pipeline: str, *, run_name: str, experiment: str, parameters: Mapping[str, Any]) -> str:
        """Start the newest published version of a pipeline; gives the run id."""

    def find_runs(self, run_name: str) -> Sequence[RunState]: ...
    def list_unfinished(self, experiment: str) -> Sequence[RunState]: ...
    def fetch_run(self, run_id: str) -> RunState: ...


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

    def delete(self, name: str) -> None: ...


class RevisionCounts(BaseModel):
    """Counters of one revision since its gateway started: they only grow, and start again at 0 when it restarts."""

    model_config = ConfigDict(frozen=True)

    num_requests: int = 0
    num_errors: int = 0
    """Answers with a 5xx status, timeouts and resets."""
    num_by_latency_ms: Mapping[float, int] = {}
    """Cumulative histogram: upper bound in ms (inf last) to the number of requests at or under it."""


class TrafficStats(Protocol):
    def fetch_counts(self, revision: str) -> RevisionCounts: ...


class Trainer(Protocol):
    def run(self, *, module: str, spec_path: Path, world_size: int, log_path: Path, timeout_s: float) -> None:
        """Run a distributed training to its end; Unavailable with the log's tail when it fails."""


__all__ = [
    "DatasetStore",
    "InferenceServices",
    "LabelStore",
    "Ledger",
    "ModelRef",
    "ObjectStore",
    "Pipelines",
    "Registry",
    "RevisionCounts",
    "RunState",
    "ServiceState",
    "TrafficStats",
    "Trainer",
]
