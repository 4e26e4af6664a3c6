"""Which contents were dealt with before: a shard that a tool sends again under another key counts no second time.

`s3://ratchet/contents/<task>/<etag>-<size>.json` names the shard that brought a content first and the version that
settled it. `validate` writes it before its verdict, so a marker without that verdict (a crash in between) says nothing
yet, and the next version writes it over. Finding out costs one request a new shard, however long ago the first came.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.shards import LabelShard
from ratchet.core.ports import ObjectStore

_NUM_THREADS = 8
K = TypeVar("K")
V = TypeVar("V")
Settles = Callable[[str, str], bool]
"""Whether the verdict of a version (if there is one) accepts or quarantines a shard key."""


class Marker(BaseModel):
    """Who brought a content first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    version: str


class Kept(Generic[K, V]):
    """What was used in this look or in the one before it: bounded by what a look uses."""

    def __init__(self) -> None:
        self._now: dict[K, V] = {}
        self._before: dict[K, V] = {}

    def turn(self) -> None:
        """Begin a look."""
        self._now, self._before = {}, self._now

    def get(self, key: K) -> V | None:
        value = self._now.get(key, self._before.get(key))
        if value is not None:
            self._now[key] = value
        return value

    def put(self, key: K, value: V) -> None:
        self._now[key] = value


class Answer(NamedTuple):
    """What was found out about a content while the verdicts were those of `as_of`."""

    first_key: str
    """Of the shard that brought it and was settled; "" = none."""
    as_of: object

    def holds(self, as_of: object) -> bool:
        """That a content is settled is final; that it is not, only until the next verdict."""
        return self.first_key != "" or self.as_of == as_of


def marker_uri(task: str, shard: LabelShard, *, bucket: str) -> str:
    return _uri(task, shard.content, bucket=bucket)


def fetch_marker(objects: ObjectStore, task: str, content: str, *, bucket: str) -> Marker | None:
    """Who brought this content (`LabelShard.content`) first; None when nobody whose version was judged did."""
    return _fetch_marker(objects, _uri(task, content, bucket=bucket))


def _uri(task: str, content: str, *, bucket: str) -> str:
    return f"s3://{bucket}/contents/{task}/{quote(content, safe='')}.json"


def mark_contents(
    objects: ObjectStore, shards: Iterable[LabelShard], *, task: str, version: str, settles: Settles, bucket: str
) -> None:
    """Say of each content that this shard brought it, unless a settled one did before. Before the verdict."""

    def mark(shard: LabelShard) -> None:
        uri = marker_uri(task, shard, bucket=bucket)
        data = Marker(key=shard.key, version=version).model_dump_json().encode()
        try:
            objects.put_if_absent(uri, data)
        except Conflict:
            earlier = _fetch_marker(objects, uri)
            if earlier is None or not settles(earlier.version, earlier.key):
                objects.put(uri, data)

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        list(threads.map(mark, shards))


def find_resent(
    objects: ObjectStore,
    shards: Sequence[LabelShard],
    *,
    task: str,
    settles: Settles,
    as_of: object,
    known: Kept[str, Answer],
    bucket: str,
) -> frozenset[str]:
    """Keys of the shards whose content another shard brought before, one that was accepted or quarantined.

    as_of: equal between two looks only when no verdict was written in between.
    """
    unknown = [shard for shard in shards if not is_answered(shard, as_of=as_of, known=known)]

    def ask(shard: LabelShard) -> str:
        marker = _fetch_marker(objects, marker_uri(task, shard, bucket=bucket))
        is_other = marker is not None and marker.key != shard.key
        return marker.key if marker and is_other and settles(marker.version, marker.key) else ""

    if unknown:
        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            for shard, first_key in zip(unknown, threads.map(ask, unknown), strict=True):
                known.put(shard.key, Answer(first_key=first_key, as_of=as_of))
    answers = ((shard, known.get(shard.key)) for shard in shards)
    return frozenset(shard.key for shard, answer in answers if answer is not None and answer.first_key)


def is_answered(shard: LabelShard, *, as_of: object, known: Kept[str, Answer]) -> bool:
    """Whether asking about this shard again would tell nothing new."""
    answer = known.get(shard.key)
    return answer is not None and answer.holds(as_of)


def _fetch_marker(objects: ObjectStore, uri: str) -> Marker | None:
    try:
        data = objects.fetch(uri)
    except NotFound:
        return None
    try:
        return Marker.model_validate_json(data)
    except ValueError as error:
        raise DataRejected(
            f"{uri} is not a content marker: {error}. Delete that object; it is written again."
        ) from None
