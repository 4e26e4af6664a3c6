"""Hostile feedback, payload log lines, traces and other records that are read back from storage."""

import json
from datetime import timedelta
from random import Random
from typing import Any

from ratchet.actions.rollout.feedback import measure_accuracy
from ratchet.adapters.s3_payloads import S3FeedbackStore, S3PayloadLog
from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import CategoryOutput
from ratchet.core.rollout.feedback import parse_feedback, parse_feedback_lines
from ratchet.core.rollout.monitor import gather
from ratchet.core.rollout.payloads import Feedback, Prediction
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.trace import parse_trace, replay
from ratchet.core.runs.outcome import Origin
from ratchet.core.runs.signals import Signal
from ratchet.stores.finished import FinishedSteps
from ratchet.stores.run_outcomes import RunOutcomes
from ratchet.stores.signals import Signals
from tests.fakes.object_store import LANDED_AT, FakeObjectStore
from tests.fuzz.hostile import json_bytes, mangled, mutated
from tests.fuzz.running import fuzz
from wire.strict_json import NotJson, parse_json

PET = CategoryOutput(classes=("cat", "dog"))
SINCE = LANDED_AT - timedelta(days=1)
ITEM = {"request_id": "r1", "instance": 0, "label": "cat"}
FEEDBACK = {"feedback": [ITEM, {"request_id": "r2", "label": "dog"}]}
PREDICTION = json.loads(
    Prediction(
        request_id="r1",
        at=LANDED_AT,
        model_digest="d",
        latency_ms=1,
        features=((1.0, 2.0),),
        labels=("cat",),
        probabilities=(0.9,),
    ).model_dump_json()
)
TYPED = {
    **PREDICTION,
    "features": [],
    "inputs": [{"carrier": "AA", "distance": 900.0, "photo": {"sha256": "d", "width": 4, "height": 3, "channels": 1}}],
    "labels": [["far", "night"]],
}
STORED = json.loads(Feedback(request_id="r1", instance=0, label="cat", at=LANDED_AT).model_dump_json())
REQUEST = {"t": 1.0, "revision": "canary", "status": 200, "latency_ms": 3.5}
HUGE = (1e308, 1.7e308, 1e18, 5e-324, 2**63, 10**30)


def body(rng: Random) -> bytes:
    made = json_bytes(mutated(rng, FEEDBACK, num_changes=rng.randrange(4)))
    return mangled(rng, made, num_changes=2) if rng.random() < 0.2 else made


def check_post(made: bytes) -> None:
    """As the guard and the gateway take it: stored whole, or refused in words that can be sent."""
    try:
        items = parse_feedback(parse_json(made), output=PET, now=LANDED_AT)
    except (DataRejected, NotJson) as error:
        assert len(str(error)) < 8_000
        str(error).encode()
        return
    store = S3FeedbackStore(FakeObjectStore(), bucket="ratchet", now=lambda: LANDED_AT)
    store.append("digits", items)
    assert list(store.list_feedback("digits", since=SINCE)) == list(items)


def lines_of(rng: Random, good: Any) -> bytes:
    rows = [json_bytes(mutated(rng, good, num_changes=rng.randrange(3))) for _ in range(rng.randrange(1, 5))]
    made = rng.choice((b"\n", b"\r\n", b"\n\n")).join(rows)
    return mangled(rng, made, num_changes=2, extra=(b"[" * 30_000, b"9" * 5_000)) if rng.random() < 0.3 else made


def check_file(made: bytes) -> None:
    try:
        parse_feedback_lines(made, output=PET, now=LANDED_AT, where="f.jsonl")
    except DataRejected as error:
        assert len(str(error)) < 8_000
        str(error).encode()


def logged(rng: Random) -> tuple[bytes, bytes]:
    return lines_of(rng, rng.choice((PREDICTION, TYPED))), lines_of(rng, STORED)


def check_logged(made: tuple[bytes, bytes]) -> None:
    """What the drift monitor, the judge and `ratchet feedback show` read back."""
    objects = FakeObjectStore()
    payloads, feedback = S3PayloadLog(objects, bucket="ratchet"), S3FeedbackStore(objects, bucket="ratchet")
    for folder, data in zip(("payloads", "feedback"), made, strict=True):
        objects.put(f"s3://ratchet/{folder}/digits/2026/01/01/01KDWPVNG00000000000000000.jsonl", data)
    gather(payloads.list_predictions("digits", since=SINCE), model_digest="d", named=frozenset(["r1"]), num_rows_max=9)
    joined = measure_accuracy(payloads, feedback, "digits", since=SINCE)
    assert joined.num_unmatched <= joined.num_feedback


def trace(rng: Random) -> bytes:
    rows = []
    for _ in range(rng.randrange(1, 30)):
        row: Any = {
            "t": rng.choice((rng.random() * 100, rng.random() * 100, rng.choice(HUGE))),
            "revision": rng.choice(("stable", "canary")),
            "status": rng.choice((200, 200, 404, 500, 599)),
            "latency_ms": rng.choice((rng.random() * 50, 0, rng.choice(HUGE))),
        }
        rows.append(json_bytes(mutated(rng, row) if rng.random() < 0.02 else row))
    made = b"\n".join(rows)
    return mangled(rng, made, num_changes=1) if rng.random() < 0.1 else made


def check_trace(made: bytes) -> None:
    """`ratchet judge replay TRACE`: a verdict, or the line that is wrong."""
    try:
        requests = parse_trace(made, where="trace.jsonl")
    except DataRejected as error:
        assert len(str(error)) < 8_000
        str(error).encode()
        return
    verdict, _ = replay(requests, RolloutPolicy())
    json.loads(verdict.model_dump_json())


def record(rng: Random) -> bytes:
    good = rng.choice(
        (
            Signal(kind="drift", is_bad=True, value=1, limit=0, text="t", at=LANDED_AT).model_dump(mode="json"),
            Origin(step="finetune", taken_from="run-1", text="t").model_dump(mode="json"),
            {"run_id": "r", "inputs": {"code": "c"}, "result": {"text": "t"}, "digest": "d"},
        )
    )
    made = json_bytes(mutated(rng, good, num_changes=rng.randrange(3)))
    return mangled(rng, made, num_changes=2, extra=(b"[" * 30_000,)) if rng.random() < 0.4 else made


def check_record(made: bytes) -> None:
    """Findings about a task, outcomes of a run, finished steps: a broken one is as if it were not there."""
    objects = FakeObjectStore()
    outcomes = RunOutcomes(objects, "ratchet")
    objects.put(Signals(objects, "ratchet").uri_of("digits", "drift"), made)
    for part in ("outcome", "origin-finetune", "failure-finetune", "verdict-evaluate"):
        objects.put(outcomes.uri_of("run-1", part), made)
    objects.put("s3://ratchet/finished/digits/finetune.json", made)
    Signals(objects, "ratchet").fetch("digits")
    outcomes.fetch_outcome("run-1")
    outcomes.list_origins("run-1")
    assert FinishedSteps(objects, "ratchet", "digits", "run-1").find("finetune", {"code": "d"}, Origin) is None
    with outcomes.step("finetune", run_id="run-1"):
        pass


def test_no_feedback_post_is_more_than_refused() -> None:
    fuzz(body, check_post, num_inputs=2_000)


def test_no_line_of_a_feedback_file_is_more_than_refused() -> None:
    fuzz(lambda rng: lines_of(rng, rng.choice((ITEM, [ITEM], {}))), check_file, num_inputs=1_000)


def test_no_logged_line_stops_what_measures_the_champion() -> None:
    fuzz(logged, check_logged, num_inputs=400)


def test_no_trace_stops_the_judge_without_a_word() -> None:
    fuzz(trace, check_trace, num_inputs=1_000)


def test_no_stored_record_stops_a_step() -> None:
    fuzz(record, check_record, num_inputs=1_000)
