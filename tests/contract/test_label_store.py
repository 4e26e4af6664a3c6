"""What every label store does; then what one listing and one count cost."""

import hashlib
import io
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.adapters import s3_labels
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.core.errors import Conflict, NotFound
from ratchet.core.labels.shards import LabelShard, ShardCounts, is_shard_key, shard_key_of
from ratchet.core.ports import LabelStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LINES = (
    b'{"id": "x1", "features": [0.0], "label": "7", "labeler": "ada", "labeled_at": "2026-01-01T12:00:00Z"}\n'
    b'{"id": "x2", "features": [0.0], "label": "7", "labeler": "b\xc3\xb6", "labeled_at": "2026-01-01T12:00:00Z"}\n'
)
IN_LINES = ShardCounts(num_labels=2, num_by_class={"7": 2}, num_by_labeler={"ada": 1, "bö": 1})


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture(params=["fake", "on-a-fake-bucket", pytest.param("s3", marks=pytest.mark.stack)])
def store(request: pytest.FixtureRequest) -> LabelStore:
    if request.param == "fake":
        return FakeLabelStore()
    real = request.param == "s3"
    objects = S3ObjectStore.of(request.getfixturevalue("s3_settings")) if real else FakeObjectStore()
    return S3LabelStore(objects, bucket="labels", now=Clock())


@pytest.fixture
def task() -> str:
    return f"t{secrets.token_hex(4)}"


def counts_in(shard: LabelShard) -> ShardCounts:
    return ShardCounts.model_validate(shard.model_dump(include=set(ShardCounts.model_fields)))


def test_lists_what_is_new_in_the_order_of_landing(store: LabelStore, task: str) -> None:
    keys = [store.put_shard(task, b"{}\n" * count, num_labels=count) for count in (3, 1, 2)]
    store.put_shard(f"{task}-other", b"{}\n", num_labels=1)
    shards = store.list_shards(task)
    assert [(shard.key, shard.num_labels, shard.size_bytes) for shard in shards] == list(
        zip(keys, (None, None, None), (9, 3, 6), strict=True)
    )
    assert [shard.key for shard in store.list_shards(task, after=keys[0])] == keys[1:]
    assert [shard.key for shard in store.list_shards(task, judged=[keys[1]])] == [keys[0], keys[2]]
    assert store.list_shards(task, after=keys[-1]) == ()


def test_shards_are_found_by_their_keys(store: LabelStore, task: str) -> None:
    keys = [store.put_shard(task, b"{}\n" * count, num_labels=count) for count in (1, 2, 3)]
    wanted = [shard for shard in store.list_shards(task) if shard.key != keys[1]]
    assert list(store.find_shards([keys[0], f"{keys[1]}.gone", keys[2]])) == wanted
    assert store.find_shards([]) == ()


def test_counts_what_the_shards_say_of_themselves(store: LabelStore, task: str) -> None:
    said = ShardCounts(num_by_class={"7": 3}, num_by_labeler={"ada": 1, "bö": 2})
    key = store.put_shard(task, b"?" * 200, num_labels=3, counts=said)
    counted = store.count_shards(store.list_shards(task))
    [shard] = counted.shards
    assert (shard.key, counted.num_left) == (key, 0)
    assert counts_in(shard) == said.model_copy(update={"num_labels": 3})
    assert store.count_shards(()) == ((), 0)


def test_the_same_bytes_are_the_same_content(store: LabelStore, task: str) -> None:
    for data in (b"same", b"same", b"other"):
        store.put_shard(task, data, num_labels=1)
    first, again, other = store.list_shards(task)
    assert first.content == again.content == f"{hashlib.md5(b'same').hexdigest()}-4"
    assert first.content != other.content


def test_a_shard_comes_back_as_it_went(store: LabelStore, task: str) -> None:
    assert store.fetch_shard(store.put_shard(task, b"\0\xff", num_labels=1)) == b"\0\xff"
    with pytest.raises(NotFound, match="nowhere"):
        store.fetch_shard("nowhere")


def test_keys_are_shard_keys(store: LabelStore, task: str) -> None:
    assert is_shard_key(store.put_shard(task, b"", num_labels=0), task)


class Recording(FakeObjectStore):
    num_heads = 0
    num_bytes = 0

    def fetch_metadata(self, uri: str) -> Mapping[str, str]:
        self.num_heads += 1
        return super().fetch_metadata(uri)

    def fetch(self, uri: str) -> bytes:
        data = super().fetch(uri)
        self.num_bytes += len(data)
        return data


class Bucket:
    """A label bucket that other tools write to, one shard a second."""

    def __init__(self) -> None:
        self.objects = Recording()
        self.store = S3LabelStore(self.objects, bucket="labels")
        self.num_put = 0

    def put(self, data: bytes, metadata: Mapping[str, str] | None = None, *, suffix: str = "jsonl") -> str:
        key = shard_key_of("digits", NOON + timedelta(seconds=self.num_put), bytes(10))
        key = f"{key.removesuffix('jsonl')}{suffix}"
        self.num_put += 1
        self.objects.put(f"s3://labels/{key}", data, metadata=metadata)
        return key

    def count(self) -> tuple[list[ShardCounts], int]:
        shards, num_left = self.store.count_shards(self.store.list_shards("digits"))
        return [counts_in(shard) for shard in shards], num_left


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


TOLD = {"num-labels": "2", "num-by-class": '{"7":2}', "num-by-labeler": '{"ada":1,"b\\u00f6":1}'}


def test_a_shard_that_tells_is_asked_once_and_never_opened(bucket: Bucket) -> None:
    for _ in range(5):
        bucket.put(LINES, TOLD)
    assert bucket.objects.num_heads == 0, "a listing alone asks nothing"
    assert bucket.count() == bucket.count() == ([IN_LINES] * 5, 0)
    assert (bucket.objects.num_heads, bucket.objects.num_bytes) == (5, 0)


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"num-labels": "2"}, id="number-alone"),
        pytest.param({**TOLD, "num-by-class": '{"7":3}'}, id="contradicts-itself"),
        pytest.param({**TOLD, "num-by-class": "{"}, id="no-json"),
        pytest.param({**TOLD, "num-by-class": '{"7":true,"8":1}'}, id="no-number"),
        pytest.param({**TOLD, "num-by-labeler": '{"ada":3,"bo":-1}'}, id="negative"),
        pytest.param({}, id="nothing"),
    ],
)
def test_a_shard_that_does_not_tell_is_opened_once(bucket: Bucket, metadata: dict[str, str]) -> None:
    bucket.put(LINES, metadata)
    assert bucket.count() == bucket.count() == ([IN_LINES], 0)
    assert bucket.objects.num_bytes == len(LINES)


@pytest.mark.parametrize(
    ("data", "suffix", "found"),
    [
        pytest.param(b"{}\n\n{}", "jsonl", ShardCounts(num_labels=2), id="no-label-in-it"),
        pytest.param(b"?\n?", "jsonl", ShardCounts(num_labels=2), id="no-json"),
        pytest.param(b"[1]\n", "jsonl", ShardCounts(num_labels=1), id="no-object"),
        pytest.param(b"[" * 100_000, "jsonl", ShardCounts(num_labels=1), id="nested-too-deep"),
        pytest.param(b"", "jsonl", ShardCounts(num_labels=0, num_by_class={}, num_by_labeler={}), id="empty"),
        pytest.param(b"no parquet", "parquet", ShardCounts(), id="broken-parquet"),
        pytest.param(b"PAR1" * 9, "parquet", ShardCounts(), id="hardly-parquet"),
    ],
)
def test_what_cannot_be_counted_says_so_once(bucket: Bucket, data: bytes, suffix: str, found: ShardCounts) -> None:
    bucket.put(data, suffix=suffix)
    assert bucket.count() == bucket.count() == ([found], 0)
    assert bucket.objects.num_bytes == len(data)


def test_a_parquet_shard_counts_like_a_jsonl_shard(bucket: Bucket) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([json.loads(line) for line in LINES.splitlines()]), buffer)
    bucket.put(buffer.getvalue(), suffix="parquet")
    assert bucket.count() == ([IN_LINES], 0)


def test_a_flood_is_counted_in_parts_from_the_oldest_on(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_labels, "NUM_ASKED_MAX", 4)
    for _ in range(10):
        bucket.put(LINES, TOLD)
    assert [(len(counts), num_left) for counts, num_left in (bucket.count() for _ in range(4))] == [
        (4, 6),
        (8, 2),
        (10, 0),
        (10, 0),
    ]
    assert bucket.objects.num_heads == 10


def test_a_flood_of_silent_shards_opens_few_a_call(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that say their number count at once, and by class later; the others wait for their turn."""
    monkeypatch.setattr(s3_labels, "NUM_OPENED_MAX", 2)
    for _ in range(3):
        bucket.put(LINES, {"num-labels": "2"})
    for _ in range(3):
        bucket.put(LINES)
    looks = [bucket.count() for _ in range(4)]
    assert [(len(counts), num_left) for counts, num_left in looks] == [(5, 1), (6, 0), (6, 0), (6, 0)]
    assert [sum(count.num_by_class is None for count in counts) for counts, _ in looks] == [3, 2, 0, 0]
    assert bucket.objects.num_bytes == 6 * len(LINES)


def test_large_silent_shards_are_opened_one_a_call(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_labels, "OPENED_BYTES_MAX", len(LINES) - 1)
    bucket.put(LINES, {"num-labels": "2"})
    bucket.put(LINES)
    bucket.put(LINES)
    number_alone = ShardCounts(num_labels=2)
    assert bucket.count() == ([number_alone, IN_LINES], 1)
    assert bucket.count() == ([number_alone, IN_LINES, IN_LINES], 0)
    assert bucket.objects.num_bytes == 2 * len(LINES)


def test_what_is_remembered_is_bounded(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_labels, "NUM_KNOWN_MAX", 3)
    for _ in range(5):
        bucket.put(LINES, TOLD)
    assert bucket.count() == bucket.count() == ([IN_LINES] * 3, 2)
    assert bucket.objects.num_heads == 3


def test_what_is_no_shard_is_left_alone_and_what_is_gone_is_left_out(bucket: Bucket) -> None:
    bucket.objects.put("s3://labels/digits/README.txt", b"hello")
    gone, there = bucket.put(LINES), bucket.put(LINES)
    listed = bucket.store.list_shards("digits")
    bucket.objects.delete(f"s3://labels/{gone}")
    assert [shard.key for shard in bucket.store.count_shards(listed).shards] == [there]


def test_long_counts_are_left_out_of_the_metadata(bucket: Bucket) -> None:
    counts = ShardCounts(num_by_class={f"class-{number}": 1 for number in range(200)}, num_by_labeler={"ada": 200})
    key = bucket.store.put_shard("digits", b"?", num_labels=200, counts=counts)
    assert bucket.objects.fetch_metadata(f"s3://labels/{key}") == {"num-labels": "200"}


def test_a_shard_is_never_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_bytes", bytes)
    objects = FakeObjectStore()
    S3LabelStore(objects, bucket="labels", now=lambda: NOON).put_shard("digits", b"first", num_labels=1)
    with pytest.raises(Conflict):
        S3LabelStore(objects, bucket="labels", now=lambda: NOON).put_shard("digits", b"second", num_labels=1)
    assert objects.fetch(f"s3://labels/{shard_key_of('digits', NOON, bytes(10))}") == b"first"
