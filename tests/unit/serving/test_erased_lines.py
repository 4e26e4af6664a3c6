"""An erased example is found in the log by its inputs, however they were asked and logged; others stay as they were."""

import base64
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ratchet.actions.labels.erased_inputs import with_digests
from ratchet.actions.labels.images import NO_SOURCE
from ratchet.core.labels.answers import answers_of
from ratchet.core.labels.erasure import Removed
from ratchet.core.rollout.erased_lines import Erased, answers_without, feedback_without
from ratchet.core.rollout.logged_inputs import shortened
from ratchet.core.rollout.payloads import Prediction
from ratchet.serving.inputs import parse_instances
from ratchet.serving.payload_writer import Answered, render_lines
from ratchet.serving.request_images import RequestImages
from tests.unit.serving.typed_model import ROW, png, spec_of

SPEC = spec_of()
VECTOR = spec_of(inputs=[{"name": "v", "type": "vector", "size": 3}])
PHOTO = {"b64": base64.b64encode(png(value=9)).decode()}
FULL: dict[str, Any] = {**ROW, "remark": "x" * 3_000, "delay": 0.1, "photo": PHOTO, "track": [0.1, -0.0]}


def logged(instances: list[Any], *, request_id: str = "r", spec: Any = SPEC) -> bytes:
    """The line of one request, as a model server writes it."""
    inputs = parse_instances({"instances": instances}, schema=spec.examples, images=RequestImages())
    answers = answers_of(np.full((len(instances), 2), 0.5), spec.output)
    kept = shortened(inputs, spec.examples)
    one = Answered(request_id, 1_767_268_800.0, 2.0, kept, answers, spec.examples.short_input)
    return b"".join(render_lines([one], model_digest="m"))


def erased_of(*lines: dict[str, Any], ids: tuple[str, ...] = (), spec: Any = SPEC) -> Erased:
    removed = with_digests(Removed(b"", len(lines), lines=lines), spec.examples, NO_SOURCE)
    return Erased(frozenset(ids), removed.digests)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(FULL, id="as-it-was-labelled"),
        pytest.param({**FULL, "delay": float(np.float32(0.1)), "track": [float(np.float32(0.1)), 0]}, id="as-fp32"),
        pytest.param({**FULL, "delay": float(np.float16(0.1)), "track": [float(np.float16(0.1)), 0]}, id="as-fp16"),
        pytest.param({**FULL, "when": "2026-01-31T08:00:00Z"}, id="the-time-in-another-zone"),
        pytest.param({**FULL, "distance": 900.0}, id="a-whole-number-as-a-fraction"),
        pytest.param(
            {**FULL, "photo": {"b64": base64.b64encode(png(value=9, kind="WEBP")).decode()}}, id="the-pixels-in-webp"
        ),
        pytest.param({**FULL, "remark": "x" * 2_500}, id="the-log-keeps-the-beginning-of-a-text"),
    ],
)
def test_an_answer_to_the_same_inputs_is_found_however_they_were_sent(asked: dict[str, Any]) -> None:
    cut = answers_without(logged([asked]), erased_of({"inputs": FULL}), SPEC.examples)
    assert cut is not None and (cut.data, cut.num_rows, cut.places) == (b"", 1, {("r", 0)})


@pytest.mark.parametrize("name", ["carrier", "distance", "night", "when", "remark", "delay", "photo", "track"])
def test_an_answer_to_other_inputs_stays(name: str) -> None:
    others = {"carrier": "UA", "distance": 901, "night": True, "when": "2026-01-31T09:00:00Z", "remark": "y"}
    others |= {"delay": 0.2, "photo": {"b64": base64.b64encode(png(value=90)).decode()}, "track": [0.2, 0]}
    for other in ({**FULL, name: others[name]}, {key: FULL[key] for key in FULL if key != name or name in ROW}):
        is_same = other == FULL
        assert (answers_without(logged([other]), erased_of({"inputs": FULL}), SPEC.examples) is None) != is_same


def test_of_a_request_only_the_erased_instance_goes_and_the_others_keep_their_numbers() -> None:
    others = [{**ROW, "distance": number} for number in (1, 2)]
    data = logged([others[0], FULL, others[1]]) + logged(others, request_id="other")
    cut = answers_without(data, erased_of({"inputs": FULL}), SPEC.examples)
    assert cut is not None and cut.places == {("r", 1)}
    first, _ = (Prediction.model_validate_json(line) for line in cut.data.splitlines())
    assert [row["distance"] for row in first.inputs] == [1, 2] and list(first.numbers) == [0, 2]
    assert len(first.labels) == len(first.probabilities) == 2
    assert cut.data.splitlines()[1] == data.splitlines()[1], "what holds nothing of it keeps its bytes"
    again = answers_without(cut.data, erased_of({"inputs": others[1]}), SPEC.examples)
    assert again is not None and again.places == {("r", 2), ("other", 1)}


def test_features_are_inputs_too_and_old_lines_of_them() -> None:
    data = logged([[0.1, 2, 3], [4, 5, 6]], spec=VECTOR)
    assert b'"features"' in data
    for line in ({"features": [0.1, 2, 3]}, {"inputs": {"v": [0.1, 2, 3]}}):
        cut = answers_without(data, erased_of(line, spec=VECTOR), VECTOR.examples)
        assert cut is not None and cut.num_rows == 1 and json.loads(cut.data)["features"] == [[4, 5, 6]]


@pytest.mark.parametrize(
    ("ids", "gone"),
    [
        pytest.param(("r-1",), [1], id="an-example-that-was-queued-from-the-log"),
        pytest.param(("r",), [0, 1], id="a-request-that-has-the-id-of-the-example"),
        pytest.param(("r-7", "1"), [], id="nobody"),
    ],
)
def test_an_example_that_has_its_id_from_a_request_is_found_by_it(ids: tuple[str, ...], gone: list[int]) -> None:
    data = logged([ROW, {**ROW, "distance": 5}])
    cut = answers_without(data, erased_of(ids=ids), SPEC.examples)
    assert (sorted(number for _, number in cut.places) if cut else []) == gone
    items = [json.dumps({"request_id": "r", "instance": number, "label": "no"}).encode() for number in (0, 1)]
    left = feedback_without(b"\n".join(items), frozenset(ids), frozenset())
    assert (left.num_rows if left else 0) == len(gone)


def test_a_table_of_a_version_and_a_line_have_the_same_digests() -> None:
    rows = pa.Table.from_pylist([{"id": "a", "features": [0.1, 2.0, 3.0], "label": "no"}])
    of_rows = with_digests(Removed(b"", 1, rows=rows), VECTOR.examples, NO_SOURCE).digests
    assert of_rows == erased_of({"features": [0.1, 2, 3]}, spec=VECTOR).digests != frozenset()


@pytest.mark.parametrize(
    "line",
    [
        *(b"{}", b'{"labels": 3, "inputs": {}}', b'{"labels": ["no"], "inputs": [7]}', b'{"labels": ["no"]}'),
        *(b'{"labels": ["no"], "inputs": [{"distance": {}}], "instances": ["x"]}',),
        *(b'{"labels": ["no"], "inputs": [{"when": 7, "track": [null], "photo": 3}], "request_id": []}',),
    ],
)
def test_odd_lines_that_hold_nothing_of_it_stay(line: bytes) -> None:
    assert answers_without(line, erased_of({"inputs": FULL}, ids=("a",)), SPEC.examples) is None
    assert (
        feedback_without(b'{"request_id": {}, "instance": [1], "label": "no"}', frozenset({"a"}), frozenset()) is None
    )


def test_a_broken_line_goes_since_nobody_can_say_whose_it_is() -> None:
    data = b'{"inputs": [{"rem\n' + logged([ROW])
    cut = answers_without(data, erased_of({"inputs": FULL}), SPEC.examples)
    assert cut is not None and cut.data == logged([ROW])


@pytest.mark.parametrize(
    "line",
    [
        pytest.param({"inputs": {**FULL, "gone": 1}, "label": "a class of before"}, id="of-an-older-task-file"),
        pytest.param({"inputs": {**FULL, "distance": 900.00001}}, id="rounded"),
    ],
)
def test_a_line_that_the_task_would_refuse_today_is_known_too(line: dict[str, Any]) -> None:
    assert answers_without(logged([FULL]), erased_of(line), SPEC.examples) is not None


@pytest.mark.parametrize("line", [{}, {"inputs": 7}, {"inputs": {"distance": "x"}}, {"inputs": {}}])
def test_a_line_without_usable_inputs_erases_nothing_else(line: dict[str, Any]) -> None:
    assert answers_without(logged([ROW]), erased_of(line), SPEC.examples) is None
