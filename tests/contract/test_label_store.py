"""What every label store does; then that a listing costs what is new."""

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.core.errors import Conflict, NotFound
from ratchet.core.labels import is_shard_key, shard_key_of
from ratchet.core.ports import LabelStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


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


def test_lists_what_is_new_in_the_order_of_landing(store: LabelStore, task: str) -> None:
    keys = [store.put_shard(task, b"{}\n" * count, num_labels=count) for count in (3, 1, 2)]
    store.put_shard(f"{task}-other", b"{}\n", num_labels=1)
    shards = store.list_shards(task)
    assert [(shard.key, shard.num_labels, shard.size_bytes) for shard in shards] == list(
        zip(keys, (3, 1, 2), (9, 3, 6), strict=True)
    )
    assert [shard.key for shard in store.list_shards(task, after=keys[0])] == keys[1:]
    assert [shard.key for shard in store.list_shards(task, settled=[keys[1]])] == [keys[0], keys[2]]
    assert store.list_shards(task, after=keys[-1]) == ()


def test_a_shard_comes_back_as_it_went(store: LabelStore, task: str) -> None:
    assert store.fetch_shard(store.put_shard(task, b"\0\xff", num_labels=1)) == b"\0\xff"
    with pytest.raises(NotFound, match="nowhere"):
        store.fetch_shard("nowhere")


def test_keys_are_shard_keys(store: LabelStore, task: str) -> None:
    assert is_shard_key(store.put_shard(task, b"", num_labels=0), task)


class Recording(FakeObjectStore):
    num_heads = 0

    def fetch_metadata(self, uri: str) -> dict[str, str]:
        self.num_heads += 1
        return dict(super().fetch_metadata(uri))


def test_a_listing_asks_about_each_new_shard_once() -> None:
    objects = Recording()
    store = S3LabelStore(objects, bucket="labels", now=Clock())
    keys = [store.put_shard("digits", b"", num_labels=1) for _ in range(5)]
    store.list_shards("digits", after=keys[1], settled=[keys[2]])
    store.list_shards("digits", after=keys[1])
    assert objects.num_heads == 3


def test_what_is_no_shard_is_left_alone_and_unknown_sizes_are_counted() -> None:
    objects = FakeObjectStore()
    objects.put("s3://labels/digits/README.txt", b"hello")
    objects.put(f"s3://labels/{shard_key_of('digits', NOON, bytes(10))}", b"{}\n\n{}")
    broken = shard_key_of("digits", NOON + timedelta(seconds=1), bytes(10)).replace("jsonl", "parquet")
    objects.put(f"s3://labels/{broken}", b"no parquet", metadata={"num-labels": "many"})
    assert [shard.num_labels for shard in S3LabelStore(objects, bucket="labels").list_shards("digits")] == [2, None]


def test_a_shard_is_never_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_bytes", bytes)
    objects = FakeObjectStore()
    S3LabelStore(objects, bucket="labels", now=lambda: NOON).put_shard("digits", b"first", num_labels=1)
    with pytest.raises(Conflict):
        S3LabelStore(objects, bucket="labels", now=lambda: NOON).put_shard("digits", b"second", num_labels=1)
    assert objects.fetch(f"s3://labels/{shard_key_of('digits', NOON, bytes(10))}") == b"first"
