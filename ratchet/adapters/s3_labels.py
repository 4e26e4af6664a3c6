"""Label shards in an S3 bucket: `<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl`, immutable, in the order of their landing."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ratchet.adapters.shard_counts import count_shard
from ratchet.core.errors import Conflict, NotFound
from ratchet.core.labels.shards import (
    SHARD_BYTES_MAX,
    CountedShards,
    LabelShard,
    ShardCounts,
    is_shard_key,
    num_labels_max,
    parse_counts,
    render_counts,
    shard_key_of,
)
from ratchet.core.ports import ObjectStore, StoredObject
from ratchet.core.uris import parse_s3_uri, s3_uri
from ratchet.parallel import map_parallel

_NUM_KEYS = 3
NUM_KNOWN_MAX = 100_000
"""Shards whose counts a process remembers, and so the most that it counts: some 50 MB."""
NUM_ASKED_MAX = 2_000
"""HEADs of one call: 2 s."""
NUM_OPENED_MAX = 256
OPENED_BYTES_MAX = 8 << 20
"""What one call reads of shards that do not say what they hold, some 0.5 s; and one shard more, however large, so that
each is counted some time. A larger one that at least says its number is not opened to know it by class."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class S3LabelStore:
    """`ports.LabelStore`. A listing does not show user metadata, so each new shard costs one HEAD, once a process."""

    def __init__(self, objects: ObjectStore, *, bucket: str, now: Callable[[], datetime] = utc_now) -> None:
        self._objects = objects
        self._bucket = bucket
        self._now = now
        self._known = _KnownCounts()

    def list_shards(self, task: str, *, after: str = "", judged: Collection[str] = ()) -> Sequence[LabelShard]:
        known = frozenset(judged)
        start_after = s3_uri(self._bucket, after) if after else ""
        listed = self._objects.list_objects(s3_uri(self._bucket, f"{task}/"), start_after=start_after)
        stored = ((parse_s3_uri(item.uri)[1], item) for item in listed)
        return tuple(_shard_of(key, item) for key, item in stored if is_shard_key(key, task) and key not in known)

    def find_shards(self, keys: Sequence[str]) -> Sequence[LabelShard]:
        def find(key: str) -> LabelShard | None:
            uri = s3_uri(self._bucket, key)
            item = next((item for item in self._objects.list_objects(uri) if item.uri == uri), None)
            return None if item is None else _shard_of(key, item)

        return tuple(shard for shard in map_parallel(find, keys) if shard is not None)

    def count_shards(self, shards: Sequence[LabelShard]) -> CountedShards:
        first = self._ask(shards[:NUM_KNOWN_MAX])
        opened = self._open(first)
        counted: list[LabelShard] = []
        for number, (shard, told) in enumerate(first):
            found = opened.get(shard.key, told)
            if found.counts.num_labels is None and not found.is_final:
                return CountedShards(tuple(counted), num_left=len(shards) - number)
            if found.is_there:
                counted.append(shard.with_counts(found.counts))
        return CountedShards(tuple(counted), num_left=len(shards) - len(first))

    def fetch_shard(self, key: str) -> bytes:
        return self._objects.fetch(s3_uri(self._bucket, key))

    def rewrite_shard(self, key: str, data: bytes, counts: ShardCounts) -> None:
        uri = s3_uri(self._bucket, key)
        if data:
            self._objects.put(uri, data, metadata=render_counts(counts))
        else:
            self._objects.delete(uri)

    def put_shard(self, task: str, data: bytes, *, num_labels: int, counts: ShardCounts | None = None) -> str:
        said = (counts or ShardCounts()).model_copy(update={"num_labels": num_labels})
        for num_left in reversed(range(_NUM_KEYS)):
            key = shard_key_of(task, self._now(), secrets.token_bytes(10))
            try:
                self._objects.put_if_absent(s3_uri(self._bucket, key), data, metadata=render_counts(said))
                return key
            except Conflict:
                if not num_left:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _ask(self, shards: Sequence[LabelShard]) -> "list[tuple[LabelShard, _Found]]":
        """The first shards with what is known of them, after one HEAD for each that is new."""
        known = {shard.key: found for shard in shards if (found := self._known.get(shard))}
        new = [shard for shard in shards if shard.key not in known]
        asked = new[:NUM_ASKED_MAX]
        known |= self._for_each(asked, self._fetch_told)
        num_first = shards.index(new[NUM_ASKED_MAX]) if len(new) > NUM_ASKED_MAX else len(shards)
        return [(shard, known[shard.key]) for shard in shards[:num_first]]

    def _open(self, first: "Sequence[tuple[LabelShard, _Found]]") -> "dict[str, _Found]":
        """Count what does not say enough: first what does not even say its number, oldest first."""
        silent = [(shard, found) for shard, found in first if not found.is_final]
        chosen: list[LabelShard] = []
        num_bytes = 0
        for shard, _ in sorted(silent, key=lambda pair: pair[1].counts.num_labels is not None):
            if len(chosen) == NUM_OPENED_MAX or num_bytes >= OPENED_BYTES_MAX:
                break
            chosen.append(shard)
            num_bytes += shard.size_bytes
        return self._for_each(chosen, self._fetch_counts)

    def _for_each(self, shards: Sequence[LabelShard], fetch: "Callable[[LabelShard], _Found]") -> "dict[str, _Found]":
        found = dict(zip((shard.key for shard in shards), map_parallel(fetch, shards), strict=True))
        for shard in shards:
            self._known.put(shard, found[shard.key])
        return found

    def _fetch_told(self, shard: LabelShard) -> "_Found":
        try:
            metadata = self._objects.fetch_metadata(s3_uri(self._bucket, shard.key))
        except NotFound:
            return _GONE
        counts = parse_counts(metadata, num_max=num_labels_max(shard.key, shard.size_bytes))
        bytes_max = SHARD_BYTES_MAX if counts.num_labels is None else OPENED_BYTES_MAX
        return _Found(counts, is_final=counts.is_whole or shard.size_bytes > bytes_max)

    def _fetch_counts(self, shard: LabelShard) -> "_Found":
        """What is in it; of how many it said itself it is believed. One object is in memory at a time and thread."""
        told = self._known.get(shard)
        try:
            counts = count_shard(shard.key, self.fetch_shard(shard.key))
        except NotFound:
            return _GONE
        said = told.counts.num_labels if told else None
        return _Found(counts if said is None else counts.model_copy(update={"num_labels": said}), is_final=True)


def _shard_of(key: str, item: StoredObject) -> LabelShard:
    return LabelShard(key=key, size_bytes=item.size_bytes, etag=item.etag, last_modified_at=item.last_modified_at)


class _Found(NamedTuple):
    counts: ShardCounts
    is_final: bool
    """Nothing more is to be had by opening it."""
    is_there: bool = True


_GONE = _Found(ShardCounts(), is_final=True, is_there=False)


class _KnownCounts:
    """The counts that were looked up last. Safe to share between threads."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[str, str], _Found] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, shard: LabelShard) -> _Found | None:
        with self._lock:
            found = self._found.get((shard.key, shard.etag))
            if found is not None:
                self._found.move_to_end((shard.key, shard.etag))
            return found

    def put(self, shard: LabelShard, found: _Found) -> None:
        """A shard that is gone is not remembered: it may have been put anew since."""
        if not found.is_there:
            return
        with self._lock:
            self._found[shard.key, shard.etag] = found
            while len(self._found) > NUM_KNOWN_MAX:
                self._found.popitem(last=False)
