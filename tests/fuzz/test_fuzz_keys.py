"""Hostile keys in the label bucket, and in folders that are read by the time in a key: none harms the next look."""

import unicodedata
from datetime import UTC, timedelta
from random import Random
from typing import NamedTuple
from urllib.parse import quote

from ratchet.actions.labels.datasets import list_pending
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.adapters.s3_payloads import S3FeedbackStore, S3PayloadLog
from ratchet.core.labels.shards import is_in_order, is_shard_key, landed_at_of, shard_key_of
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.object_store import LANDED_AT, FakeObjectStore
from tests.fuzz.hostile import hostile_text
from tests.fuzz.running import fuzz
from tests.stores import label_stores

GOOD = shard_key_of("digits", LANDED_AT, bytes(10))
LINE = b'{"id": "a", "label": "1", "labeler": "x", "labeled_at": "2026-01-01T00:00:00Z"}\n'
ULIDS = (
    "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", "00000000000000000000000000",
    "01KDWPVNG00000000000000000",
    "01kdwpvng00000000000000000", "81KDWPVNG00000000000000000", "01KDWPVNG0000000000000000U",
    "01KDWPVNG000000000000000",
    "01KDWPVNG0000000000000000０", "٠١KDWPVNG00000000000000000",
)  # fmt: skip
DAYS = (
    "2026/01/01", "2026/99/01", "2026/02/30", "0000/00/00", "9999/12/31", "0001/01/01", "٢٠٢٦/٠١/٠١", "２０２６/01/01",
    "2026/1/1", "2026-01-01", "2026/01", "../..", "2026/01/01/02", "",
)  # fmt: skip
SUFFIXES = (".jsonl", ".parquet", ".JSONL", ".jsonl.gz", ".jsonl\n", ".jsonl ", "", ".", "/", ".json", "\u2028.jsonl")


def key(rng: Random) -> str:
    parts = [rng.choice(("digits", "digit", "Digits", "digits-2", "", "..")), rng.choice(DAYS), rng.choice(ULIDS)]
    if rng.random() < 0.2:
        parts[rng.randrange(3)] = hostile_text(rng).encode(errors="replace").decode()
    made = "/".join(parts) + rng.choice(SUFFIXES)
    what = rng.randrange(8)
    if what == 0:
        made = quote(made)
    elif what == 1:
        made = unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKC", "NFKD")), made)
    elif what == 2:
        made += "x" * rng.choice((1, 900, 5_000))
    return made.lstrip("/") or "x"


class Bucket(NamedTuple):
    keys: list[str]


def bucket(rng: Random) -> Bucket:
    return Bucket([key(rng) for _ in range(rng.randrange(1, 8))])


def check_key(made: str) -> None:
    if is_shard_key(made, "digits"):
        assert landed_at_of(made).tzinfo is UTC
        assert is_in_order(made) in (True, False)


def check_look(made: Bucket) -> None:
    """Every reader of keys: the sensor's look and ingest's, with the good shard found in each; the records by time."""
    objects = FakeObjectStore()
    for each in (*made.keys, GOOD):
        objects.put(f"s3://labels/{each}", LINE, metadata={"num-labels": "1"})
        for folder in ("payloads", "feedback"):
            objects.put(f"s3://ratchet/{folder}/{each}", b"{}\n")
    for is_counted in (True, False):
        stores = label_stores(S3LabelStore(objects, bucket="labels"), FakeDatasetStore(), objects)
        pending = list_pending(stores, task="digits", is_counted=is_counted)
        assert pending.last_key >= GOOD or not is_counted
        seen = {shard.key for shard in pending.shards}
        assert seen & {GOOD, *made.keys}, "the content counts once, under its own key or a twin's"
    since = LANDED_AT - timedelta(days=1)
    assert list(S3PayloadLog(objects, bucket="ratchet").list_predictions("digits", since=since)) == []
    assert list(S3FeedbackStore(objects, bucket="ratchet").list_feedback("digits", since=since)) == []


def test_every_key_is_a_shard_of_a_known_time_or_none() -> None:
    fuzz(key, check_key, num_inputs=5_000)


def test_no_key_harms_a_look_at_the_labels_beside_it() -> None:
    fuzz(bucket, check_look, num_inputs=300)
