"""What every payload log and feedback store does; then that a listing costs what is new."""

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_payloads import S3FeedbackStore, S3PayloadLog
from ratchet.core.labels.answers import Answers
from ratchet.core.labels.schema import VectorInput
from ratchet.core.ports import FeedbackStore, ObjectStore, PayloadLog
from ratchet.core.rollout.payloads import PAYLOADS, Feedback, Prediction, record_key_of
from ratchet.serving.payload_writer import Answered, render_lines
from ratchet.settings import Settings
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.payload_log import FakeFeedbackStore, FakePayloadLog

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STORES = ["fake", "on-a-fake-bucket", pytest.param("s3", marks=pytest.mark.stack)]
World = tuple[PayloadLog, Callable[[str, Sequence[int]], None]]


def lines_of(minutes: Sequence[int]) -> bytes:
    inputs = pa.table({"v": pa.array([[1.0, 1.0]], pa.list_(pa.float64()))})
    answers, vector = Answers(pa.array(["7"]), np.array([[0.1, 0.9]])), VectorInput(name="v", size=2)
    answered = [
        Answered(f"r{at}", (NOON + timedelta(minutes=at)).timestamp(), 1.5, inputs, answers, vector) for at in minutes
    ]
    return b"".join(render_lines(answered, model_digest="d1"))


@pytest.fixture
def task() -> str:
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest) -> World:
    """A log, and what puts one object for each of some minutes past noon, as a model server does."""
    if request.param == "fake":
        fake = FakePayloadLog()
        parse = Prediction.model_validate_json
        return fake, lambda _, minutes: fake.predictions.extend(map(parse, lines_of(minutes).splitlines()))
    real = request.param == "s3"
    objects: ObjectStore = S3ObjectStore.of(request.getfixturevalue("s3_settings")) if real else FakeObjectStore()

    def put(task: str, minutes: Sequence[int]) -> None:
        for minute in minutes:
            key = record_key_of(PAYLOADS, task, NOON + timedelta(minutes=minute), secrets.token_bytes(10))
            objects.put(f"s3://ratchet/{key}", lines_of([minute]))

    return S3PayloadLog(objects, bucket="ratchet"), put


def test_what_a_model_server_writes_is_read_from_a_time_on(world: World, task: str) -> None:
    log, put = world
    put(task, range(5))
    since = NOON + timedelta(minutes=2)
    assert [each.request_id for each in log.list_predictions(task, since=since)] == ["r2", "r3", "r4"]
    (last,) = log.list_predictions(task, since=NOON + timedelta(minutes=4))
    assert last == Prediction(
        request_id="r4",
        at=NOON + timedelta(minutes=4),
        model_digest="d1",
        latency_ms=1.5,
        features=((1.0, 1.0),),
        labels=("7",),
        probabilities=(0.9,),
    )
    assert list(log.list_predictions(task, since=NOON + timedelta(minutes=5))) == []


def feedback(minute: int, label: str = "7") -> Feedback:
    return Feedback(request_id=f"r{minute}", instance=0, label=label, at=NOON + timedelta(minutes=minute))


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> FeedbackStore:
    if request.param == "fake":
        return FakeFeedbackStore()
    real = request.param == "s3"
    objects = S3ObjectStore.of(request.getfixturevalue("s3_settings")) if real else FakeObjectStore()
    moments = (NOON + timedelta(minutes=minute) for minute in range(10))
    return S3FeedbackStore(objects, bucket="ratchet", now=lambda: next(moments))


def test_feedback_is_kept_and_read_from_a_time_on(store: FeedbackStore, task: str) -> None:
    store.append(task, [])
    for minute in range(3):
        store.append(task, [feedback(minute), feedback(minute, "8")])
    assert [each.label for each in store.list_feedback(task, since=NOON)] == ["7", "8"] * 3
    assert list(store.list_feedback(task, since=NOON + timedelta(minutes=2))) == [feedback(2), feedback(2, "8")]
    assert list(store.list_feedback(f"{task}x", since=NOON)) == []


class Recording(FakeObjectStore):
    num_fetched = 0

    def fetch(self, uri: str) -> bytes:
        self.num_fetched += 1
        return super().fetch(uri)


def test_a_listing_reads_what_is_new_and_skips_what_is_broken() -> None:
    objects = Recording()
    for minute in range(300):
        key = record_key_of(PAYLOADS, "digits", NOON + timedelta(minutes=minute), bytes(10))
        objects.put(f"s3://ratchet/{key}", lines_of([minute]) if minute != 299 else b'{"request_id": "r299"}\n\n{')
    log = S3PayloadLog(objects, bucket="ratchet")
    found = list(log.list_predictions("digits", since=NOON + timedelta(minutes=200)))
    assert (len(found), objects.num_fetched, log.num_broken) == (99, 100, 2)


def test_what_was_seen_is_not_read_again() -> None:
    objects, seen = Recording(), set[str]()
    log = S3PayloadLog(objects, bucket="ratchet")
    for minute in (0, 1):
        key = record_key_of(PAYLOADS, "digits", NOON + timedelta(minutes=minute), bytes(10))
        objects.put(f"s3://ratchet/{key}", lines_of([minute]))
        found = [each.request_id for each in log.list_predictions("digits", since=NOON, seen=seen)]
        assert (found, objects.num_fetched, len(seen)) == ([f"r{minute}"], minute + 1, minute + 1)


@pytest.mark.stack
def test_a_model_server_may_add_to_the_payload_log_and_nothing_else(s3_settings: Settings) -> None:
    """With the credentials of the embedded stack's Secret `ratchet-serving`."""
    from ratchet.core.errors import SettingsError
    from ratchet.settings import settings_of

    secret = s3_settings.state_dir / "secrets" / "ratchet-serving"
    objects = S3ObjectStore.of(settings_of({file.name: file.read_text() for file in secret.iterdir()}))
    ours = S3ObjectStore.of(s3_settings)
    key = "payloads/digits/2026/01/01/x.jsonl"
    objects.put(f"s3://ratchet/{key}", b"mine")
    assert ours.fetch(f"s3://ratchet/{key}") == b"mine"
    for uri in ("s3://ratchet/ledger/digits/1.json", "s3://models/x", "s3://labels/x", "s3://ratchet/payloads"):
        with pytest.raises(SettingsError):
            objects.put(uri, b"not mine")
    with pytest.raises(SettingsError):
        list(objects.list_uris("s3://ratchet/ledger/"))
    with pytest.raises(SettingsError):
        objects.fetch(f"s3://ratchet/{key}")
