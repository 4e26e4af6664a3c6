"""The writing end of the payload log: bounded, counted, never in the way; sampling that all revisions agree on."""

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from ratchet.core.labels.answers import Answers, answers_of
from ratchet.core.labels.schema import NumberOutput, VectorInput
from ratchet.core.ports import StoredObject
from ratchet.core.rollout.logged_inputs import shortened
from ratchet.core.rollout.payloads import TEXT_CHARS_LOGGED, Prediction, is_sampled
from ratchet.parallel import in_parts
from ratchet.serving.__main__ import payload_writer_of
from ratchet.serving.inputs import parse_instances
from ratchet.serving.payload_writer import OBJECT_ROWS_MAX, Answered, PayloadWriter, render_lines
from ratchet.serving.request_images import RequestImages
from tests.unit.serving.typed_model import ROW, TAGS, png, spec_of


def answered(number: int = 0, *, num_rows: int = 1, num_features: int = 2) -> Answered:
    inputs = pa.table({"v": pa.array([[float(number)] * num_features] * num_rows, pa.list_(pa.float64()))})
    answers = Answers(pa.array(["7"] * num_rows), np.full((num_rows, 2), 0.5))
    return Answered(f"r{number}", 1_767_268_800.25, 2.0, inputs, answers, VectorInput(name="v", size=num_features))


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("ratchet_payloads_dropped_total", {"reason": reason}) or 0.0


class Bucket:
    """Objects as they were put; `gate` holds a PUT back until it is set."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.error: BaseException | None = None

    def put(self, key: str, data: bytes) -> None:
        self.gate.wait(20)
        if self.error:
            raise self.error
        self.objects[key] = data

    def predictions(self) -> list[Prediction]:
        lines = [line for data in self.objects.values() for line in data.splitlines()]
        return [Prediction.model_validate_json(line) for line in lines]


def writer_to(bucket: Bucket, *, ratio: float = 1.0, flush_s: float = 0.01, **bounds: int) -> PayloadWriter:
    return PayloadWriter(bucket.put, task="digits", model_digest="d1", sample_ratio=ratio, flush_s=flush_s, **bounds)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_answer_is_stored_by_itself_and_the_rest_when_the_server_ends():
    bucket = Bucket()
    writer = writer_to(bucket)
    writer.offer(answered(1))
    wait_for(lambda: len(bucket.objects) == 1)
    writer.offer(answered(2))
    writer.close(within_s=5)
    assert [(each.request_id, each.features) for each in bucket.predictions()] == [
        ("r1", ((1.0, 1.0),)),
        ("r2", ((2.0, 2.0),)),
    ]
    assert all(key.startswith("payloads/digits/") and key.endswith(".jsonl") for key in bucket.objects)


def test_objects_hold_a_thousand_rows_at_most():
    bucket = Bucket()
    writer = writer_to(bucket, flush_s=60)
    for number in range(5):
        writer.offer(answered(number, num_rows=400))
    writer.offer(answered(5, num_rows=OBJECT_ROWS_MAX + 1))
    writer.close(within_s=5)
    sizes = [sum(len(Prediction.model_validate_json(line).labels) for line in data.splitlines())
             for data in bucket.objects.values()]  # fmt: skip
    assert sizes == [800, 800, 400, OBJECT_ROWS_MAX + 1]


def test_objects_hold_a_few_megabytes_at_most():
    bucket = Bucket()
    writer = writer_to(bucket, flush_s=60)
    for number in range(6):
        writer.offer(answered(number, num_rows=64, num_features=3_072))
    writer.close(within_s=10)
    assert len(bucket.objects) == 3, "1.5 MB of features each"
    assert len(bucket.predictions()) == 6


def test_a_store_that_hangs_costs_memory_within_bounds_and_no_request_waits():
    bucket, before = Bucket(), dropped("queue_full")
    bucket.gate.clear()
    writer = writer_to(bucket, queue_bytes_max=50_000)
    began_s = time.monotonic()
    for number in range(1_000):
        writer.offer(answered(number))
    assert time.monotonic() - began_s < 5
    num_dropped = dropped("queue_full") - before
    assert 900 < num_dropped < 1_000
    bucket.gate.set()
    writer.close(within_s=5)
    assert len(bucket.predictions()) + num_dropped == 1_000


def test_a_store_that_fails_costs_the_batch_and_the_next_one_is_kept(caplog):
    bucket, before = Bucket(), dropped("store")
    bucket.error = OSError("no route")
    writer = writer_to(bucket)
    writer.offer(answered(1))
    wait_for(lambda: dropped("store") > before)
    bucket.error = None
    writer.offer(answered(2))
    writer.close(within_s=5)
    assert [each.request_id for each in bucket.predictions()] == ["r2"]
    assert dropped("store") - before == 1 and "no route" in caplog.text


def standstill() -> float:
    return REGISTRY.get_sample_value("ratchet_payloads_writer_stands_still") or 0.0


def test_a_writer_that_stands_still_is_named_and_is_well_once_its_put_has_ended():
    bucket = Bucket()
    bucket.gate.clear()
    writer = PayloadWriter(
        bucket.put, task="digits", model_digest="d1", sample_ratio=1.0, flush_s=0.01, standstill_s=0.05
    )
    writer.offer(answered(1))
    wait_for(lambda: "loop payloads has not ended a turn" in writer.heartbeat.problem)
    assert standstill() == 1.0
    bucket.gate.set()
    wait_for(lambda: not writer.heartbeat.problem)
    assert standstill() == 0.0
    writer.close(within_s=5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_whose_thread_has_ended_is_named():
    bucket = Bucket()
    bucket.error = SystemExit()
    writer = writer_to(bucket)
    writer.offer(answered(1))
    wait_for(lambda: writer.heartbeat.problem == "loop payloads has ended")
    assert standstill() == 1.0


def test_closing_is_bounded_in_time_and_says_what_was_lost(caplog):
    bucket, before = Bucket(), dropped("shutdown")
    writer = writer_to(bucket, flush_s=60)
    bucket.gate.clear()
    for number in range(3):
        writer.offer(answered(number, num_rows=OBJECT_ROWS_MAX))
    began_s = time.monotonic()
    writer.close(within_s=0.2)
    assert time.monotonic() - began_s < 5
    assert dropped("shutdown") - before == 3, "the one that hangs in its PUT, and the two behind it"
    assert "3 answers" in caplog.text
    bucket.gate.set()


@given(st.text(min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_what_a_small_ratio_takes_each_larger_one_takes(request_id, one, other):
    assert is_sampled(request_id, max(one, other)) >= is_sampled(request_id, min(one, other))
    assert is_sampled(request_id, 1.0) and not is_sampled(request_id, 0.0)


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.9])
def test_the_ratio_is_kept(ratio):
    num_taken = sum(is_sampled(f"request-{number}", ratio) for number in range(20_000))
    assert abs(num_taken / 20_000 - ratio) < 0.01


def test_a_request_without_an_id_is_not_logged():
    writer = writer_to(Bucket())
    assert not writer.wants("") and writer.wants("r1")
    writer.close(within_s=5)


SECRET = {"RATCHET_S3_ENDPOINT": "http://127.0.0.1:9", "RATCHET_S3_ACCESS_KEY": "a", "RATCHET_S3_SECRET_KEY": "b"}


@pytest.mark.parametrize(
    ("others", "said"),
    [
        pytest.param({"RATCHET_PAYLOAD_SAMPLE_RATIO": "0.0"}, "", id="ratio-0"),
        pytest.param({"RATCHET_S3_ENDPOINT": ""}, "", id="no-endpoint"),
        pytest.param({"RATCHET_S3_ACCESS_KEY": ""}, "RATCHET_S3_ACCESS_KEY is not set", id="half-a-secret"),
        pytest.param({"RATCHET_PAYLOAD_SAMPLE_RATIO": "much"}, "RATCHET_PAYLOAD_SAMPLE_RATIO", id="no-number"),
        pytest.param({"RATCHET_S3_ENDPOINT": "nonsense"}, "RATCHET_S3_ENDPOINT", id="no-url"),
    ],
)
def test_a_log_that_cannot_be_is_off_and_says_why(monkeypatch, caplog, others, said):
    for name, value in {**SECRET, **others}.items():
        monkeypatch.setenv(name, value)
    assert payload_writer_of(task="digits", digest="d1") is None
    assert said in caplog.text


def test_a_reader_holds_many_small_objects_or_few_large_ones():
    def parts_of(size_bytes: int, *, number: int) -> list[int]:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        stored = (
            StoredObject(uri=f"s3://b/{each}", size_bytes=size_bytes, etag="e", last_modified_at=at)
            for each in range(number)
        )
        return [len(part) for part in in_parts(stored)]

    assert parts_of(1_000, number=130) == [64, 64, 2]
    assert parts_of(30 << 20, number=5) == [2, 2, 1]
    assert parts_of(200 << 20, number=2) == [1, 1], "one is always read"


def test_typed_inputs_are_logged_by_name_within_bounds():
    """No long text, no picture, nothing of what is missing; the answers as their values."""
    schema = spec_of(TAGS).examples
    row = {**ROW, "remark": "x" * 3_000, "photo": {"b64": base64.b64encode(png()).decode()}}
    inputs = parse_instances({"instances": [row, ROW]}, schema=schema, images=RequestImages())
    answers = answers_of(np.array([[0.9, 0.1, 0.6], [0.1, 0.2, 0.3]]), schema.output)
    line = Answered("r1", 1_767_268_800.25, 2.0, shortened(inputs, schema), answers, schema.short_input)
    (data,) = render_lines([line], model_digest="d1")
    kept = Prediction.model_validate_json(data)
    assert kept.labels == (("far", "long, dark"), ()) and kept.probabilities == (0.6, 0.7) and kept.features == ()
    first, second = kept.inputs
    assert second == {**ROW, "when": "2026-01-31T08:00:00+00:00", "distance": 900.0}
    assert first["remark"] == "x" * TEXT_CHARS_LOGGED
    digest = hashlib.sha256(bytes([7] * 12)).hexdigest()
    assert first["photo"] == {"sha256": digest, "width": 4, "height": 3, "channels": 1}


def test_a_line_that_was_written_before_inputs_had_types_is_read():
    old = (
        '{"request_id": "r1", "at": "2026-01-01T12:00:00Z", "model_digest": "d1", "latency_ms": 1.5,'
        ' "features": [[0.0, 1.0]], "labels": ["7"], "probabilities": [0.9]}'
    )
    kept = Prediction.model_validate_json(old)
    assert (kept.features, kept.inputs, kept.labels, kept.probabilities) == (((0.0, 1.0),), (), ("7",), (0.9,))


def test_a_number_is_logged_without_a_probability():
    inputs = pa.table({"v": pa.array([[1.0, 2.0]], pa.list_(pa.float64()))})
    vector = VectorInput(name="v", size=2)
    line = Answered("r1", 1_767_268_800.25, 2.0, inputs, answers_of(np.array([3.5]), NumberOutput()), vector)
    (data,) = render_lines([line], model_digest="d1")
    kept = Prediction.model_validate_json(data)
    assert (kept.labels, kept.probabilities, kept.features) == ((3.5,), (), ((1.0, 2.0),))
