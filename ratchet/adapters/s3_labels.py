"""Label shards in an S3 bucket: `<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl`, immutable, in the order of their landing."""

import io
import secrets
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from ratchet.core.errors import Conflict, NotFound
from ratchet.core.labels import LabelShard, is_shard_key, shard_key_of
from ratchet.core.ports import ObjectStore, StoredObject
from ratchet.core.uris import parse_s3_uri, s3_uri

NUM_LABELS = "num-labels"
_NUM_THREADS = 8
_NUM_KEYS = 3


def utc_now() -> datetime:
    return datetime.now(UTC)


class S3LabelStore:
    """`ports.LabelStore`. A listing does not show user metadata, so each new shard costs one HEAD, once a process."""

    def __init__(self, objects: ObjectStore, *, bucket: str, now: Callable[[], datetime] = utc_now) -> None:
        self._objects = objects
        self._bucket = bucket
        self._now = now
        self._num_labels_by_key: dict[str, int | None] = {}
        self._lock = threading.Lock()

    def list_shards(self, task: str, *, after: str = "", settled: Collection[str] = ()) -> Sequence[LabelShard]:
        known = frozenset(settled)
        start_after = s3_uri(self._bucket, after) if after else ""
        listed = self._objects.list_objects(s3_uri(self._bucket, f"{task}/"), start_after=start_after)
        stored = [(parse_s3_uri(item.uri)[1], item) for item in listed]
        new = [(key, item) for key, item in stored if is_shard_key(key, task) and key not in known]
        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            shards = threads.map(lambda pair: self._shard(*pair), new)
            return tuple(shard for shard in shards if shard is not None)

    def fetch_shard(self, key: str) -> bytes:
        return self._objects.fetch(s3_uri(self._bucket, key))

    def put_shard(self, task: str, data: bytes, *, num_labels: int) -> str:
        for num_left in reversed(range(_NUM_KEYS)):
            key = shard_key_of(task, self._now(), secrets.token_bytes(10))
            try:
                self._objects.put_if_absent(s3_uri(self._bucket, key), data, metadata={NUM_LABELS: str(num_labels)})
                return key
            except Conflict:
                if not num_left:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _shard(self, key: str, stored: StoredObject) -> LabelShard | None:
        try:
            num_labels = self._num_labels(key)
        except NotFound:
            return None  # deleted since it was listed
        return LabelShard(
            key=key,
            size_bytes=stored.size_bytes,
            etag=stored.etag,
            last_modified_at=stored.last_modified_at,
            num_labels=num_labels,
        )

    def _num_labels(self, key: str) -> int | None:
        """From the metadata; counted when the tool did not say. None when it cannot be counted either."""
        with self._lock:
            if key in self._num_labels_by_key:
                return self._num_labels_by_key[key]
        said = self._objects.fetch_metadata(s3_uri(self._bucket, key)).get(NUM_LABELS, "")
        num_labels = int(said) if said.isdecimal() else _count_labels(key, self.fetch_shard(key))
        with self._lock:
            self._num_labels_by_key[key] = num_labels
        return num_labels


def _count_labels(key: str, data: bytes) -> int | None:
    if key.endswith(".jsonl"):
        return sum(1 for line in data.splitlines() if line.strip())
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(io.BytesIO(data)).num_rows
    except pa.ArrowInvalid:
        return None
