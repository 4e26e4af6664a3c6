"""What the deeds need from the outside world, as Protocols. Adapters implement them, fakes too."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from ratchet.core.dataset import DataFile, Manifest
from ratchet.core.labels import CountedShards, LabelShard, ShardCounts
from ratchet.core.ledger import LedgerEntry, ModelRef
from ratchet.core.payloads import Feedback, Prediction


class StoredObject(BaseModel):
    """One object, as a listing shows it."""

    model_config = ConfigDict(frozen=True)

    uri: str
    size_bytes: int
    etag: str
    last_modified_at: datetime


class ObjectStore(Protocol):
    """Objects of an S3 bucket, by `s3://bucket/key` URI. Raises NotFound, Conflict, Unavailable, SettingsError."""

    def put(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None: ...
    def put_if_absent(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        """Raises Conflict when the object is there already."""

    def fetch(self, uri: str) -> bytes: ...
    def fetch_metadata(self, uri: str) -> Mapping[str, str]:
        """The user metadata given with `put`; names in lower case."""

    def exists(self, uri: str) -> bool: ...
    def list_uris(self, prefix_uri: str, *, start_after: str = "") -> Iterator[str]:
        """URIs that begin with a prefix, in key order; `start_after` is a URI of the same bucket."""

    def list_objects(self, prefix_uri: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """Like `list_uris`, with what the listing knows of each object."""

    def put_directory(self, path: Path, uri: str) -> None: ...
    def fetch_directory(self, uri: str, path: Path) -> None:
        """Every object under `uri/`, as files under `path`; NotFound when there is none."""

    def delete(self, uri: str) -> None:
        """Nothing happens when the object is not there."""


class LabelStore(Protocol):
    def list_shards(self, task: str, *, after: str = "", settled: Collection[str] = ()) -> Sequence[LabelShard]:
        """Shards of a task whose key sorts after `after` and is not `settled`, in key order, uncounted: O(new)."""

    def count_shards(self, shards: Sequence[LabelShard]) -> CountedShards:
        """The first of these with what they hold; deleted ones are left out. What one call reads is bounded, and what
        it found out is remembered, so that the next call goes on where this one stopped."""

    def find_shards(self, keys: Sequence[str]) -> Sequence[LabelShard]:
        """These shards, uncounted, without those that are gone: a request each."""

    def fetch_shard(self, key: str) -> bytes: ...
    def put_shard(self, task: str, data: bytes, *, num_labels: int, counts: ShardCounts | None = None) -> str:
        """Store an immutable shard; gives its key. `counts`: what it holds by class and by labeler."""


class DatasetStore(Protocol):
    def list_versions(self, task: str) -> Sequence[str]:
        """Tags `<task>/v<n>`, oldest first."""

    def fetch_manifest(self, version: str) -> Manifest: ...
    def fetch_shard(self, shard: DataFile) -> bytes:
        """The Parquet bytes, checked against the file's sha256."""

    def commit_version(self, manifest: Manifest, new_shards: Mapping[str, bytes]) -> None:
        """Push blobs, then commit and tag; Conflict when the tag is there already. `new_shards`: path to bytes."""


class Ledger(Protocol):
    def list_entries(self, task: str) -> Sequence[LedgerEntry]: ...
    def append(self, entry: LedgerEntry) -> None:
        """Compare-and-swap on `entry.seq`; Conflict when that place is taken."""


class ModelVersion(BaseModel):
    """One version of a registered model."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    version: str
    uri: str
    tags: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    registered_at: datetime


class Registry(Protocol):
    def register(self, task: str, uri: str, *, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
        """A new version of the registered model `task`; gives its number. The same uri twice gives the same version."""

    def set_alias(self, task: str, alias: str, version: str) -> None:
        """Raises NotFound when there is no such version."""

    def remove_alias(self, task: str, alias: str) -> None:
        """Nothing happens when the alias is not set."""

    def fetch_aliases(self, task: str) -> Mapping[str, str]:
        """Alias to version; empty when nothing was registered."""

    def note_refused(self, task: str, *, key: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        """Show a challenger that got no version, with its numbers. The same `key` again shows it once."""

    def list_versions(self, task: str) -> Sequence[ModelVersion]:
        """Every version, oldest first; empty when nothing was registered."""


class RunState(BaseModel):
    """One pipeline run as KFP tells it."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    name: str
    state: str
    """PENDING RUNNING SUCCEEDED SKIPPED FAILED CANCELING CANCELED PAUSED. A run that was terminated is CANCELED."""
    error: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_finished(self) -> bool:
        return self.state in {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}


class RunTask(BaseModel):
    """One task of a run; a group (condition, loop, exit handler) is a task that others have as their parent."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    name: str
    state: str
    parent_id: str = ""
    log_node: str = ""
    """What the server calls the place of its log; "" when it has none."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str = ""


class RunArtifact(BaseModel):
    """One artifact that a task of a run made."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    output: str
    name: str
    type: str = ""
    uri: str = ""
    url: str = ""
    """Where its bytes are to be had over HTTP; "" when the server does not serve them."""


class Pipelines(Protocol):
    """Runs of published pipelines. Raises NotFound, Unavailable, SettingsError, DataRejected."""

    def submit(
        self,
        pipeline: str,
        *,
        run_name: str,
        experiment: str,
        parameters: Mapping[str, Any],
        start_within_s: float | None = None,
    ) -> str:
        """Start the newest published version of a pipeline; gives the run id.

        Unavailable when looking things up takes over `start_within_s`: then nothing was started.
        """

    def find_runs(self, run_name: str) -> Sequence[RunState]:
        """Every run of that display name, archived ones too, oldest first."""

    def list_unfinished(self, experiment: str) -> Sequence[RunState]: ...
    def list_runs(self, *, experiment: str | None = None, limit: int = 20) -> Sequence[RunState]:
        """Newest first, of one experiment or of all."""

    def fetch_run(self, run_id: str) -> RunState: ...
    def fetch_tasks(self, run_id: str) -> Sequence[RunTask]:
        """The tasks of a run, in the order in which they started."""

    def fetch_log(self, run_id: str, task: RunTask) -> str: ...
    def list_artifacts(self, run_id: str) -> Sequence[RunArtifact]: ...
    def fetch_artifact(self, artifact: RunArtifact) -> bytes:
        """The bytes that the server serves of one; NotFound when it serves none, or they were removed."""

    def terminate(self, run_id: str) -> None:
        """Ask a run to stop; one that has ended stays as it is."""

    def retry(self, run_id: str) -> None:
        """Run again what did not succeed of a failed run, and what waits for it; DataRejected when it did not fail."""


class PipelineVersion(BaseModel):
    """One uploaded version of a pipeline."""

    model_config = ConfigDict(frozen=True)

    pipeline: str
    pipeline_id: str
    version_id: str
    name: str
    created_at: datetime | None = None


class Schedule(BaseModel):
    """A recurring run: a pipeline that starts by the clock."""

    model_config = ConfigDict(frozen=True)

    schedule_id: str
    name: str
    cron: str
    is_enabled: bool
    created_at: datetime | None = None
    description: str = ""


class PipelineCatalog(Protocol):
    """Published pipelines and what starts them by the clock. Raises what Pipelines raises."""

    def list_versions(self, pipeline: str) -> Sequence[PipelineVersion]:
        """Newest first; empty when there is no such pipeline."""

    def list_pipelines(self) -> Sequence[PipelineVersion]:
        """The newest version of each."""

    def fetch_spec(self, version: PipelineVersion) -> Mapping[str, Any]:
        """The compiled pipeline as the server keeps it."""

    def upload(self, pipeline: str, path: Path, *, version_name: str) -> PipelineVersion:
        """A new version of a pipeline, which is made when it is not there. Conflict when the version is."""

    def list_schedules(self) -> Sequence[Schedule]: ...
    def create_schedule(
        self,
        pipeline: str,
        *,
        name: str,
        cron: str,
        parameters: Mapping[str, Any],
        description: str = "",
        is_enabled: bool = True,
        start_at: datetime | None = None,
    ) -> Schedule:
        """Run the newest version by a six-field cron; missed slots and those before `start_at` are not made up for."""

    def enable_schedule(self, schedule_id: str) -> None:
        """From its next slot on."""

    def delete_schedule(self, schedule_id: str) -> None: ...


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
    is_settled: bool = True
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


class Gateway(Protocol):
    """Where users' requests enter, asked as a user would ask."""

    def fetch_answerers(self, name: str, *, num_requests: int) -> frozenset[str]:
        """Revisions and model digests that answered so many requests to a service, as the answers name them.

        Unavailable when the gateway cannot be reached, or its answers name nobody."""


class RevisionCounts(BaseModel):
    """Counters of one revision, copies of mirrored requests among them. They only grow, and start again at 0 when what
    counts them does (the gateway) or when it moves (a revision restarted on another port)."""

    model_config = ConfigDict(frozen=True)

    num_requests: int = 0
    num_errors: int = 0
    """Answers with a 5xx status, timeouts and resets."""
    num_refused: int = 0
    """Answers with a 4xx status: the request was wrong, so it is evidence of nothing."""
    num_by_latency_ms: Mapping[float, int] = {}
    """Cumulative histogram: upper bound in ms (inf last) to the number of requests at or under it."""


class TrafficStats(Protocol):
    def fetch_counts(self, revision: str) -> RevisionCounts: ...


class PayloadLog(Protocol):
    """What the model servers answered, sampled. Raises Unavailable."""

    def list_predictions(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Prediction]:
        """Those whose object was put at or after `since`, about in order of time: O(new). Broken lines are skipped.

        seen: names of the objects that were read; those are not read again, and what is read now is added.
        """


class FeedbackStore(Protocol):
    """True labels that arrived after the prediction."""

    def append(self, task: str, feedback: Sequence[Feedback]) -> None:
        """One object for them all; returns when it is stored."""

    def list_feedback(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Feedback]:
        """Those whose object was put at or after `since`, about in order of time: O(new). `seen` as above."""


class Trainer(Protocol):
    def run(
        self, *, module: str, spec_path: Path, world_size: int, log_path: Path, failure_path: Path, timeout_s: float
    ) -> None:
        """Run a distributed training to its end. Raises what a worker wrote to `failure_path`
        (`ratchet.training.failure`), which no retry mends; Unavailable when it ends otherwise, or too late."""


class ModelProbe(Protocol):
    def fetch_answers(self, model_path: Path, features: Sequence[Sequence[float]]) -> Sequence[str]:
        """The class of each row of raw features, answered by a real model server; DataRejected when it cannot."""


__all__ = [
    "DatasetStore",
    "Gateway",
    "InferenceServices",
    "LabelStore",
    "Ledger",
    "ModelProbe",
    "ModelRef",
    "ModelVersion",
    "ObjectStore",
    "PipelineCatalog",
    "PipelineVersion",
    "Pipelines",
    "Registry",
    "RevisionCounts",
    "RunState",
    "RunTask",
    "Schedule",
    "ServiceState",
    "StoredObject",
    "TrafficStats",
    "Trainer",
]
