"""Where label shards land."""

from collections.abc import Collection, Sequence
from typing import Protocol

from ratchet.core.labels.shards import CountedShards, LabelShard, ShardCounts


class LabelStore(Protocol):
    def list_shards(self, task: str, *, after: str = "", judged: Collection[str] = ()) -> Sequence[LabelShard]:
        """Shards of a task whose key sorts after `after` and is not `judged`, in key order, uncounted: O(new)."""

    def count_shards(self, shards: Sequence[LabelShard]) -> CountedShards:
        """The first of these with what they hold; deleted ones are left out. What one call reads is bounded, and what
        it found out is remembered, so that the next call goes on where this one stopped."""

    def find_shards(self, keys: Sequence[str]) -> Sequence[LabelShard]:
        """These shards, uncounted, without those that are gone: a request each."""

    def fetch_shard(self, key: str) -> bytes: ...
    def rewrite_shard(self, key: str, data: bytes, counts: ShardCounts) -> None:
        """Put other bytes in the place of a shard: what an erasure leaves of it. Without bytes the shard goes."""

    def put_shard(self, task: str, data: bytes, *, num_labels: int, counts: ShardCounts | None = None) -> str:
        """Store an immutable shard; gives its key. `counts`: what it holds by class and by labeler."""
