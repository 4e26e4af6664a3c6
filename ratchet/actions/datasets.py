"""Which dataset version counts, and which labels wait: shared by the sensor, ingest, validate and the command line."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels import LabelShard, first_key_at, landed_at_of
from ratchet.core.ports import DatasetStore, LabelStore, ObjectStore
from ratchet.core.verdict import Verdict

ACCEPTED = "accepted"
REFUSED = "refused"
LATE = timedelta(minutes=15)
"""How far the time in a shard's key may be from its landing: slow uploads and wrong clocks of labeling tools. A shard
that lands behind the watermark by no more than this is still found; one that far in the future is left alone, because
a watermark there would hide what lands until then."""


class AcceptedVersion(BaseModel):
    """A dataset version that `validate` accepted."""

    model_config = ConfigDict(frozen=True)

    version: str
    watermark: str
    """Key of the last label shard that it has looked at."""


class Pending(BaseModel):
    """The label shards that no accepted version contains, without those in quarantine."""

    model_config = ConfigDict(frozen=True)

    shards: tuple[LabelShard, ...]
    num_labels: int
    """As the shards say of themselves."""
    watermark: str
    """Of the newest accepted version; "" before the first."""
    last_key: str
    """The last key looked at, in quarantine or not: the watermark of a version that takes these shards."""
    accepted: AcceptedVersion | None
    from_future: tuple[str, ...] = ()
    """Keys that claim a time over 15 minutes after their landing. Put them again under a key of the time of the PUT."""

    @property
    def oldest_at(self) -> datetime | None:
        """When the first of them landed, as the object store says."""
        return min((shard.last_modified_at for shard in self.shards), default=None)


def verdict_uri(version: str, *, bucket: str) -> str:
    """`s3://ratchet/verdicts/<task>/v<n>.json`."""
    return f"s3://{bucket}/verdicts/{version}.json"


def fetch_verdict(objects: ObjectStore, *, version: str, bucket: str) -> Verdict | None:
    """What `validate` said of a version; None while it has not (or its run crashed)."""
    uri = verdict_uri(version, bucket=bucket)
    try:
        data = objects.fetch(uri)
    except NotFound:
        return None
    try:
        return Verdict.model_validate_json(data)
    except ValueError as error:
        raise DataRejected(
            f"{uri} is not a verdict: {error}. Delete that object; the labels are ingested again."
        ) from None


def write_verdict(objects: ObjectStore, verdict: Verdict, *, version: str, bucket: str) -> None:
    """Say once and for all whether a version counts. The same verdict again is fine; another one is a Conflict."""
    uri = verdict_uri(version, bucket=bucket)
    data = verdict.model_dump_json(indent=2).encode()
    try:
        objects.put_if_absent(uri, data)
    except Conflict:
        if objects.fetch(uri) != data:
            raise Conflict(f"{uri} holds another verdict already. Verdicts are final: ingest a new version.") from None


def newest_accepted(datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str) -> AcceptedVersion | None:
    """The newest version of a task that `validate` accepted. A version without a verdict does not count."""
    for version, verdict in _verdicts(datasets, objects, task=task, bucket=bucket):
        if verdict.verdict == ACCEPTED:
            return _accepted(version, verdict)
    return None


def list_pending(
    labels: LabelStore, datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str
) -> Pending:
    """Label shards that wait for a version: O(new). `bucket` is the one of the verdicts."""
    accepted, since, settled = _settled(datasets, objects, task=task, bucket=bucket)
    listed = labels.list_shards(task, after=since, settled=settled)
    shards = tuple(shard for shard in listed if not _is_from_future(shard))
    return Pending(
        shards=shards,
        num_labels=sum(shard.num_labels or 0 for shard in shards),
        watermark=accepted.watermark if accepted else "",
        last_key=max((*(shard.key for shard in shards), *settled, accepted.watermark if accepted else "")),
        accepted=accepted,
        from_future=tuple(shard.key for shard in listed if _is_from_future(shard)),
    )


def list_history(
    datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str
) -> Sequence[tuple[str, Verdict | None]]:
    """Every version of a task with what was said of it, newest first."""
    versions = reversed(datasets.list_versions(task))
    return tuple((version, fetch_verdict(objects, version=version, bucket=bucket)) for version in versions)


def _settled(
    datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str
) -> tuple[AcceptedVersion | None, str, frozenset[str]]:
    """The newest accepted version, the key to list from, and which keys from there on are dealt with.

    Versions are looked at from the newest back to the first whose watermark lies before that key: those of the last
    15 minutes, or the newest accepted one alone.
    """
    accepted: AcceptedVersion | None = None
    since = ""
    settled: set[str] = set()
    for version, verdict in _verdicts(datasets, objects, task=task, bucket=bucket):
        settled.update(verdict.inputs.get("quarantined", ()))
        if verdict.verdict != ACCEPTED:
            continue
        settled.update(verdict.inputs.get("shards", ()))
        this = _accepted(version, verdict)
        if accepted is None:
            accepted, since = this, first_key_at(task, landed_at_of(this.watermark) - LATE)
        if this.watermark < since:
            break
    return accepted, since, frozenset(settled)


def _verdicts(datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str) -> Iterator[tuple[str, Verdict]]:
    for version in reversed(datasets.list_versions(task)):
        verdict = fetch_verdict(objects, version=version, bucket=bucket)
        if verdict is not None:
            yield version, verdict


def _accepted(version: str, verdict: Verdict) -> AcceptedVersion:
    return AcceptedVersion(version=version, watermark=str(verdict.inputs["watermark"]))


def _is_from_future(shard: LabelShard) -> bool:
    return landed_at_of(shard.key) > shard.last_modified_at + LATE
