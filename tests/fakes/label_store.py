"""A label store in memory, with shards landing one second apart."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from ratchet.core.errors import NotFound
from ratchet.core.labels.shards import CountedShards, LabelShard, ShardCounts, is_shard_key, shard_key_of

FIRST_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FakeLabelStore:
    def __init__(self, now: datetime = FIRST_AT) -> None:
        self.now = now
        self._shards: dict[str, tuple[bytes, ShardCounts, datetime]] = {}

    def list_shards(self, task: str, *, after: str = "", judged: Collection[str] = ()) -> Sequence[LabelShard]:
        return tuple(
            LabelShard(key=key, size_bytes=len(data), etag=hashlib.md5(data).hexdigest(), last_modified_at=landed_at)
            for key, (data, _, landed_at) in sorted(self._shards.items())
            if is_shard_key(key, task) and key > after and key not in judged
        )

    def find_shards(self, keys: Sequence[str]) -> Sequence[LabelShard]:
        return tuple(
            LabelShard(key=key, size_bytes=len(data), etag=hashlib.md5(data).hexdigest(), last_modified_at=landed_at)
            for key, (data, _, landed_at) in sorted(self._shards.items())
            if key in keys
        )

    def count_shards(self, shards: Sequence[LabelShard]) -> CountedShards:
        there = (shard for shard in shards if shard.key in self._shards)
        return CountedShards(tuple(shard.with_counts(self._shards[shard.key][1]) for shard in there), num_left=0)

    def fetch_shard(self, key: str) -> bytes:
        try:
            return self._shards[key][0]
        except KeyError:
            raise NotFound(f"{key} is not there.") from None

    def rewrite_shard(self, key: str, data: bytes, counts: ShardCounts) -> None:
        self._shards.pop(key, None)
        if data:
            self.put_at(key, data, num_labels=counts.num_labels, counts=counts)

    @property
    def stored(self) -> bytes:
        """Everything that lies in it, for a test that looks for something."""
        return b"".join(data for data, _, _ in self._shards.values())

    def put_shard(self, task: str, data: bytes, *, num_labels: int, counts: ShardCounts | None = None) -> str:
        key = shard_key_of(task, self.now, len(self._shards).to_bytes(10, "big"))
        self.put_at(key, data, num_labels=num_labels, counts=counts)
        self.now += timedelta(seconds=1)
        return key

    def put_at(
        self, key: str, data: bytes, *, num_labels: int | None = None, counts: ShardCounts | None = None
    ) -> None:
        """What another tool may do: choose the key, say nothing about the number of labels."""
        counted = sum(1 for line in data.splitlines() if line.strip()) if num_labels is None else num_labels
        said = (counts or ShardCounts()).model_copy(update={"num_labels": counted})
        self._shards[key] = (data, said, self.now)

    def delete(self, key: str) -> None:
        """What only a person does."""
        del self._shards[key]
