"""What `validate` said of each dataset version, and so which label shards are dealt with."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.dataset import version_number
from ratchet.core.labels.measured import Place
from ratchet.core.labels.quarantine import Judgement, Order, left_out_of, open_orders
from ratchet.core.labels.shards import LabelShard, first_key_at, landed_at_of
from ratchet.core.ports import DatasetStore, LabelStore, ObjectStore
from ratchet.core.verdict import Verdict
from ratchet.stores.contents import Answer, Kept, mark_contents
from ratchet.stores.quarantine_orders import list_orders

ACCEPTED = "accepted"
REFUSED = "refused"
LATE = timedelta(minutes=15)
"""How far the time in a shard's key may be from its landing: slow uploads and wrong clocks of labeling tools. A shard
that lands behind the watermark by no more than this is still found; one that far in the future is left alone, because
a watermark there would hide what lands until then."""
MonotonicClock = Callable[[], float]
LOOK_BACK_EVERY_S = 10.0
"""How often a process lists those 15 minutes again. A shard that is late by more than `_RECENT` is found that much
later; all others are found by the next look, which costs what is new, however many shards landed in that time."""
_RECENT = timedelta(seconds=10)
"""Clocks of labeling tools are this near: what lands while a version is made is found by the very next look."""
_NUM_SILENT_ASKED = 2
"""Versions without a verdict that a look asks for by name: a run under way, and one that crashed before it."""


class AcceptedVersion(BaseModel):
    """A dataset version that `validate` accepted."""

    model_config = ConfigDict(frozen=True)

    version: str
    watermark: str
    """Key of the last label shard that it has looked at."""


class JudgedVersion(NamedTuple):
    """What a verdict says about label shards."""

    verdict: str
    watermark: str
    shards: frozenset[str]
    """That it accepted."""
    quarantined: frozenset[str]
    summary: str = ""
    """One line for people."""
    quarantined_rows: frozenset[Place] = frozenset()
    """In other shards: the labels of these labelers."""
    orders: int = 0
    """The last order about the quarantine that it knows of (`core.quarantine`)."""

    def judgement_of(self, version: str) -> Judgement:
        is_accepted = self.verdict == ACCEPTED
        return Judgement(
            version, self.orders, is_accepted, self.shards, self.quarantined, quarantined_rows=self.quarantined_rows
        )

    def settles(self, key: str) -> bool:
        return key in self.shards or key in self.quarantined


class LateShards(NamedTuple):
    """What waits behind `Settled.recent`, as the last listing of the whole look-back found it."""

    since: str
    shards: tuple[LabelShard, ...]
    until_s: float
    """When to list it again, by the monotonic clock."""


class KnownOrders(NamedTuple):
    """The orders about the quarantine beyond a number."""

    after: int
    orders: tuple[Order, ...]
    until_s: float
    """When to list them again, by the monotonic clock."""


class TaskMemory:
    """What one process remembers about a task from one look to the next. Forgetting it costs time, nothing else."""

    def __init__(self, monotonic_s: MonotonicClock = time.monotonic) -> None:
        self.monotonic_s = monotonic_s
        self.late: LateShards | None = None
        self.verdicts: Kept[str, JudgedVersion] = Kept()
        self.contents: Kept[str, Answer] = Kept()
        self.silent: Kept[str, bool] = Kept()
        """Versions without a verdict."""
        self.orders: KnownOrders | None = None
        self.reopened: Kept[str, LabelShard] = Kept()
        """Shards that orders want back: they lie behind what is listed."""


class Memory:
    """Of every task. One look at a task at a time.

    monotonic_s: the clock of `LOOK_BACK_EVERY_S`.
    """

    def __init__(self, monotonic_s: MonotonicClock = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._tasks: dict[str, TaskMemory] = {}

    def turned(self, task: str) -> TaskMemory:
        """For a new look: what the last two did not use is forgotten."""
        memory = self._tasks.setdefault(task, TaskMemory(self._monotonic_s))
        memory.verdicts.turn()
        memory.contents.turn()
        memory.silent.turn()
        memory.reopened.turn()
        return memory


class Settled(NamedTuple):
    accepted: AcceptedVersion | None
    since: str
    """Where a listing of what waits begins."""
    recent: str
    """Where one begins that leaves out what is late by more than 10 s; never before `since`."""
    keys: frozenset[str]
    """Accepted or in quarantine, from there on."""
    as_of: tuple[tuple[str, str], ...]
    """The newest verdict."""
    num_quarantined: int
    left_out: frozenset[Place] = frozenset()
    """In quarantine by labeler: the rest of these shards waits."""
    wanted: Mapping[Place, Order] = {}
    """What orders want back from quarantine."""
    orders: int = 0
    """The number of the last order that was looked at."""
    refusal: str = ""
    """Why the newest of them was refused, with its name; "" when it was accepted."""


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


def mark_settled(
    labels: LabelStore, objects: ObjectStore, verdict: Verdict, *, task: str, version: str, bucket: str
) -> None:
    """Mark the contents that this verdict accepts or quarantines. Before it is written: it is what makes them count."""
    judged = judged_of(verdict)
    # What came back from quarantine was marked when it went in, and may lie anywhere before the others.
    keys = (judged.shards | judged.quarantined) - frozenset(verdict.inputs.get("reopened", ()))
    if not keys:
        return
    memory = TaskMemory()
    before_first = min(keys)[:-1]
    mark_contents(
        objects,
        [shard for shard in labels.list_shards(task, after=before_first) if shard.key in keys],
        task=task,
        version=version,
        settles=lambda earlier, key: is_settling(memory, objects, earlier, key, bucket=bucket),
        bucket=bucket,
    )


def newest_accepted(datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str) -> AcceptedVersion | None:
    """The newest version of a task that `validate` accepted. A version without a verdict does not count."""
    for version, verdict in _verdicts(datasets, objects, task=task, bucket=bucket):
        if verdict.verdict == ACCEPTED:
            return _accepted(version, verdict)
    return None


def list_history(
    datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str
) -> Sequence[tuple[str, Verdict | None]]:
    """Every version of a task with what was said of it, newest first."""
    versions = reversed(datasets.list_versions(task))
    return tuple((version, fetch_verdict(objects, version=version, bucket=bucket)) for version in versions)


def find_settled(
    memory: TaskMemory, datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str
) -> Settled:
    """The newest accepted version, the key to list from, and which keys from there on are dealt with.

    Versions are looked at from the newest back to the first whose watermark lies before that key: those of the last
    15 minutes, or the newest accepted one alone. A later version never has an earlier watermark (`Pending.last_key`).
    """
    silences = _Silences(objects, task=task, bucket=bucket)
    accepted: AcceptedVersion | None = None
    since = recent = ""
    seen: list[tuple[str, str]] = []
    refusal = ""
    shards: set[str] = set()
    judgements: list[Judgement] = []
    known_orders = 0
    for version in reversed(datasets.list_versions(task)):
        verdict = _remembered(
            memory, objects, version, bucket=bucket, is_behind=accepted is not None, silences=silences
        )
        if verdict is None:
            continue
        if accepted is not None and verdict.watermark < since:
            break
        if not seen and verdict.verdict == REFUSED:
            refusal = f"{version} was refused: {verdict.summary}"
        seen.append((version, verdict.verdict))
        judgements.append(verdict.judgement_of(version))
        if verdict.verdict != ACCEPTED:
            continue
        shards |= verdict.shards
        if accepted is None:
            accepted = AcceptedVersion(version=version, watermark=verdict.watermark)
            known_orders = verdict.orders
            since = first_key_at(task, landed_at_of(accepted.watermark) - LATE)
            recent = first_key_at(task, landed_at_of(accepted.watermark) - _RECENT)
    orders = _orders_after(known_orders, memory, objects, task=task, bucket=bucket)
    wanted = open_orders(orders, judgements)
    left_out = left_out_of(judgements, wanted)
    quarantined = {key for each in judgements for key in each.quarantined}
    return Settled(
        accepted=accepted,
        since=since,
        recent=recent,
        keys=frozenset(shards | quarantined),
        as_of=tuple(seen),
        num_quarantined=len(quarantined - {key for key, _ in wanted}) + len(left_out),
        left_out=left_out,
        wanted=wanted,
        orders=max((known_orders, *(order.seq for order in orders))),
        refusal=refusal,
    )


def _orders_after(known: int, memory: TaskMemory, objects: ObjectStore, *, task: str, bucket: str) -> tuple[Order, ...]:
    """What people ordered since; a process lists it every `LOOK_BACK_EVERY_S`."""
    now_s = memory.monotonic_s()
    if memory.orders is None or memory.orders.after != known or now_s >= memory.orders.until_s:
        listed = list_orders(objects, task=task, bucket=bucket, after=known)
        memory.orders = KnownOrders(known, listed, now_s + LOOK_BACK_EVERY_S)
    return memory.orders.orders


class _Silences:
    """Which versions have no verdict, in one look: the first ones by a request each, the others by listing names.

    A hundred runs in a row that crash before their verdict cost three requests, not a hundred.
    """

    def __init__(self, objects: ObjectStore, *, task: str, bucket: str) -> None:
        self._objects = objects
        self._task = task
        self._bucket = bucket
        self._judged: dict[str, frozenset[str]] = {}
        self.num_met = 0

    def is_sure(self, version: str) -> bool:
        """Whether it is known to be silent without a request of its own."""
        if self.num_met < _NUM_SILENT_ASKED:
            return False
        block = str(version_number(version))[:-2]
        if block not in self._judged:
            prefix = verdict_uri(f"{self._task}/v{block}", bucket=self._bucket).removesuffix(".json")
            self._judged[block] = frozenset(self._objects.list_uris(prefix))
        return verdict_uri(version, bucket=self._bucket) not in self._judged[block]


def _remembered(
    memory: TaskMemory,
    objects: ObjectStore,
    version: str,
    *,
    bucket: str,
    is_behind: bool = False,
    silences: _Silences | None = None,
) -> JudgedVersion | None:
    """The verdict of a version, fetched once: verdicts are final. That there is none yet is asked again.

    is_behind: a newer version was accepted. What this one held waited for that one too, so its verdict, should it come
    after all, changes nothing, and is asked for once.
    """
    known = memory.verdicts.get(version)
    if known is not None:
        return known
    if is_behind and memory.silent.get(version):
        return None
    is_silent = silences is not None and silences.is_sure(version)
    verdict = None if is_silent else fetch_verdict(objects, version=version, bucket=bucket)
    if verdict is None:
        memory.silent.put(version, True)
        if silences is not None:
            silences.num_met += 1
        return None
    found = judged_of(verdict)
    memory.verdicts.put(version, found)
    return found


def judged_of(verdict: Verdict) -> JudgedVersion:
    return JudgedVersion(
        verdict=verdict.verdict,
        watermark=str(verdict.inputs.get("watermark", "")),
        shards=frozenset(verdict.inputs.get("shards", ())) if verdict.verdict == ACCEPTED else frozenset(),
        quarantined=frozenset(verdict.inputs.get("quarantined", ())),
        summary=verdict.summary(),
        quarantined_rows=frozenset(
            (key, labeler)
            for key, labelers in dict(verdict.inputs.get("quarantined_rows", {})).items()
            for labeler in labelers
        ),
        orders=int(verdict.inputs.get("orders", 0)),
    )


def is_settling(memory: TaskMemory, objects: ObjectStore, version: str, key: str, *, bucket: str) -> bool:
    verdict = _remembered(memory, objects, version, bucket=bucket)
    return verdict is not None and verdict.settles(key)


def _verdicts(datasets: DatasetStore, objects: ObjectStore, *, task: str, bucket: str) -> Iterator[tuple[str, Verdict]]:
    for version in reversed(datasets.list_versions(task)):
        verdict = fetch_verdict(objects, version=version, bucket=bucket)
        if verdict is not None:
            yield version, verdict


def _accepted(version: str, verdict: Verdict) -> AcceptedVersion:
    return AcceptedVersion(version=version, watermark=str(verdict.inputs["watermark"]))
