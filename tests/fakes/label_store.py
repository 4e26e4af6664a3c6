"""A label store in memory, with shards landing one second apart."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from ratchet.core.errors import NotFound
from ratchet.core.labels import LabelShard, is_shard_key, shard_key_of

FIRST_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FakeLabelStore:
    def __init__(self, now: datetime = FIRST_AT) -> None:
        self.now = now
        self._shards: dict[str, tuple[bytes, int | None, datetime]] = {}

    def list_shards(self, task: str, *, after: str = "", settled: Collection[str] = ()) -> Sequence[LabelShard]:
        return tuple(
            LabelShard(key=key, size_bytes=len(data), etag=key, last_modified_at=landed_at, num_labels=num_labels)
            for key, (data, num_labels, landed_at) in sorted(self._shards.items())
            if is_shard_key(key, task) and key > after and key not in settled
        )

    def fetch_shard(self, key: str) -> bytes:
        try:
            return self._shards[key][0]
        except KeyError:
            raise NotFound(f"{key} is not there.") from None

    def put_shard(self, task: str, data: bytes, *, num_labels: int) -> str:
        key = shard_key_of(task, self.now, len(self._shards).to_bytes(10, "big"))
        self.put_at(key, data, num_labels=num_labels)
        self.now += timedelta(seconds=1)
        return key

    def put_at(self, key: str, data: bytes, *, num_labels: int | None = None) -> None:
        """What another tool may do: choose the key, say nothing about the number of labels."""
        counted = sum(1 for line in data.splitlines() if line.strip()) if num_labels is None else num_labels
        self._shards[key] = (data, counted, self.now)
