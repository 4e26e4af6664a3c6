"""Requests of typed inputs, by both protocols: read by name, refused in words, answered by the type of the output."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kserve import InferInput, InferRequest

from ratchet.core.errors import DataRejected
from ratchet.core.labels.images import FILE_BYTES_MAX
from ratchet.serving.inputs import parse_instances
from ratchet.serving.model import ServedModel
from ratchet.serving.protocol_errors import InferenceError, InvalidInput
from ratchet.serving.rendering import infer_body
from ratchet.serving.request_images import PIXEL_BYTES_MAX, RequestImages, fetch_from
from tests.fakes.object_store import FakeObjectStore
from tests.unit.serving.typed_model import BREAKS, CATEGORY, INPUTS, NUMBER, ROW, TAGS, RuleModel, png, spec_of

IMAGES = {"s3://labels/a.png": png(), "s3://labels/a.txt": b"no image"}
PHOTO = {"b64": base64.b64encode(png()).decode()}
SPEC = spec_of()


def fetch(uri: str) -> bytes:
    if uri not in IMAGES:
        raise ValueError(f"{uri} does not exist")
    return IMAGES[uri]


def served(output: dict[str, Any] = CATEGORY, inputs: list[dict[str, Any]] = INPUTS) -> tuple[ServedModel, RuleModel]:
    model = RuleModel(spec_of(output, inputs))
    made = ServedModel("flights", model, images=RequestImages(fetch))  # type: ignore[arg-type]
    return made, model


def v1(model: ServedModel, *rows: Any) -> Any:
    async def ask() -> Any:
        return await model.answer_v1(await model.read_v1(json.dumps({"instances": list(rows)}).encode(), {}))

    return asyncio.run(ask())


def v2(model: ServedModel, body: bytes, header_length: str | None = None) -> dict[str, Any]:
    async def ask() -> Any:
        request = await model.read_v2(body, header_length=header_length)
        content, length = infer_body(await model.answer_v2(request), request.outputs)
        return json.loads(content[:length])

    return {output["name"]: output for output in asyncio.run(ask())["outputs"]}


def tensors(**columns: tuple[str, list[Any]]) -> bytes:
    inputs = [
        {"name": name, "datatype": datatype, "shape": [len(data), *([2] if name == "track" else [])], "data": data}
        for name, (datatype, data) in columns.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


GIVEN: dict[str, tuple[str, list[Any]]] = {
    "carrier": ("BYTES", ["AA", "XX"]),
    "distance": ("FP64", [900, 4000]),
    "night": ("BOOL", [False, True]),
    "when": ("BYTES", ["2026-01-31T09:00:00+01:00", "2026-02-01T00:00:00Z"]),
}


def test_an_instance_is_a_row_with_a_value_for_each_input() -> None:
    served_model, model = served()
    full = {**ROW, "remark": "late", "delay": 3, "photo": PHOTO, "track": [1, 2.5]}
    answer = v1(served_model, ROW, full, {**ROW, "photo": "s3://labels/a.png", "remark": None, "carrier": "never seen"})
    assert [each["label"] for each in answer["predictions"]] == ["no"] * 3
    assert answer["predictions"][0]["probability"] == pytest.approx(0.82)
    (asked,) = model.asked
    first, second, third = asked.to_pylist()
    assert first == {**ROW, "distance": 900.0, "when": datetime(2026, 1, 31, 8, tzinfo=UTC), "remark": None,
                     "delay": None, "photo": None, "track": None}  # fmt: skip
    assert second["photo"] == third["photo"] == bytes([7] * 12) and second["track"] == [1.0, 2.5]
    assert third["carrier"] == "never seen" and third["remark"] is None
    assert asked.schema.types == [field.type for field in SPEC.examples.inputs_type]


def test_tensors_by_name_give_what_instances_give() -> None:
    served_model, model = served()
    answer = v2(served_model, tensors(**GIVEN, delay=("FP32", [None, 2]), track=("FP64", [None, [1, 2]])))
    assert answer["label"]["data"] == ["no", "yes"] and answer["scores"]["shape"] == [2, 2]
    assert json.loads(answer["scores"]["parameters"]["classes"]) == ["no", "yes"]
    rows = [{name: data[row] for name, (_, data) in GIVEN.items()} for row in range(2)]
    v1(served_model, rows[0], {**rows[1], "delay": 2, "track": [1, 2]})
    by_tensor, by_instance = model.asked
    assert by_tensor.equals(by_instance)


@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "binary"])
def test_the_requests_of_kserves_own_client_are_read(is_binary: bool) -> None:
    served_model, model = served()
    texts = {name: np.array([text.encode() for text in GIVEN[name][1]], dtype=object) for name in ("carrier", "when")}
    arrays: list[tuple[str, str, np.ndarray]] = [
        ("carrier", "BYTES", texts["carrier"]),
        ("when", "BYTES", texts["when"]),
        ("distance", "INT32", np.array([900, 4000], dtype=np.int32)),
        ("night", "BOOL", np.array([False, True])),
        *([("delay", "FP64", np.array([np.nan, 2.0]))] if is_binary else []),
        *([("photo", "BYTES", np.array([png(), b"s3://labels/a.png"], dtype=object))] if is_binary else []),
    ]
    inputs = [InferInput(name, list(array.shape), datatype) for name, datatype, array in arrays]
    for made, (_, _, array) in zip(inputs, arrays, strict=True):
        made.set_data_from_numpy(array, binary_data=is_binary)
    body, length = InferRequest(model_name="flights", infer_inputs=inputs).to_rest()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert v2(served_model, data, str(length) if length else None)["label"]["data"] == ["no", "yes"]
    if is_binary:
        assert model.asked[0]["delay"].to_pylist() == [None, 2.0]
        assert model.asked[0]["photo"].to_pylist() == [bytes([7] * 12)] * 2


def test_answers_have_the_form_of_their_output() -> None:
    row, far = ROW, {**ROW, "distance": 4500, "night": True}
    number, _ = served(NUMBER)
    assert v1(number, row, far)["predictions"] == [{"label": 90.0}, {"label": 450.0}]
    assert {name: each["datatype"] for name, each in v2(number, tensors(**GIVEN)).items()} == {"label": "FP64"}
    tags, _ = served(TAGS)
    first, second = v1(tags, row, far)["predictions"]
    assert first["label"] == [] and second["label"] == ["far", "night", "long, dark"]
    assert second["probabilities"] == pytest.approx({"far": 0.9, "night": 0.9, "long, dark": 0.9})
    answer = v2(tags, tensors(**GIVEN))
    assert [json.loads(each) for each in answer["label"]["data"]] == [[], ["far", "night", "long, dark"]]
    for model in (number, tags):
        told = model.metadata["outputs"]
        answered = v2(model, tensors(**GIVEN))
        assert [(each["name"], each["datatype"], len(each["shape"])) for each in told] == [
            (name, each["datatype"], len(each["shape"])) for name, each in answered.items()
        ]


def test_the_metadata_says_name_datatype_and_shape_of_each_input() -> None:
    model, _ = served()
    assert model.metadata["inputs"] == [
        {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
        {"name": "distance", "datatype": "FP64", "shape": [-1]},
        {"name": "night", "datatype": "BOOL", "shape": [-1]},
        {"name": "when", "datatype": "BYTES", "shape": [-1]},
        {"name": "remark", "datatype": "BYTES", "shape": [-1]},
        {"name": "delay", "datatype": "FP64", "shape": [-1]},
        {"name": "photo", "datatype": "BYTES", "shape": [-1]},
        {"name": "track", "datatype": "FP64", "shape": [-1, 2]},
    ]


@pytest.mark.parametrize(
    ("declared", "bare", "told"),
    [
        pytest.param({"type": "text"}, "hello", "must be a text", id="text"),
        pytest.param({"type": "number"}, 3, "must be a finite number", id="number"),
        pytest.param({"type": "vector", "size": 2}, [1, 2], "must be a list of 2 numbers", id="vector"),
        pytest.param({"type": "image", "width": 4, "height": 3}, PHOTO, "must be an image", id="image"),
    ],
)
def test_of_a_single_input_the_value_may_stand_alone(declared: dict[str, Any], bare: Any, told: str) -> None:
    schema = spec_of(CATEGORY, [{"name": "x", **declared}]).examples
    images = RequestImages(fetch)
    alone = parse_instances({"instances": [bare, {"x": bare}]}, schema=schema, images=images)
    assert alone["x"][0] == alone["x"][1]
    for wrong in (True, None, {"y": bare}, {}):
        with pytest.raises(DataRejected, match=r"instances\[1\].*" + told):
            parse_instances({"instances": [bare, wrong]}, schema=schema, images=images)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"distance": "far"}, "instances[1].distance must be a finite number, found 'far'", id="text"),
        pytest.param({"distance": True}, "instances[1].distance must be a finite number, found true", id="boolean"),
        pytest.param({"distance": None}, "instances[1].distance is missing; it must be a finite number", id="null"),
        pytest.param({"distance": 10**400}, "number is infinity when parsed as double", id="huge"),
        pytest.param({"distance": float("inf")}, "is not JSON: unexpected character", id="infinite"),
        pytest.param({"carrier": 3}, "instances[1].carrier must be a text of at most 1,000", id="category"),
        pytest.param({"carrier": "x" * 1001}, "found one of 1,001", id="long-category"),
        pytest.param({"carrier": "\ud800"}, "is not JSON: no low surrogate", id="surrogate"),
        pytest.param({"night": 1}, "instances[1].night must be true or false, found 1", id="one"),
        pytest.param({"when": "yesterday"}, "instances[1].when must be a time with its zone", id="no-time"),
        pytest.param({"when": "2026-01-31T09:00:00"}, "found '2026-01-31T09:00:00'", id="no-zone"),
        pytest.param({"when": "0001-01-01T00:00:00+14:00"}, "instances[1].when must be", id="no-year"),
        pytest.param({"remark": "x" * 5001}, "found one of 5,001", id="long-text"),
        pytest.param({"track": [1]}, "instances[1].track has 1 features; this model takes 2", id="short"),
        pytest.param({"track": [1, "2"]}, "instances[1].track holds '2'", id="text-in-a-vector"),
        pytest.param({"photo": 3}, "instances[1].photo must be an image", id="photo-number"),
        pytest.param({"photo": {"url": "x"}}, "found another object", id="photo-object"),
        pytest.param({"photo": {"b64": "%%"}}, "b64 must be base64 text", id="no-base64"),
        pytest.param({"photo": {"b64": "aGVsbG8="}}, "none of PNG, JPEG, WEBP", id="no-image"),
        pytest.param({"photo": "s3://labels/b.png"}, "instances[1].photo: s3://labels/b.png does not exist", id="gone"),
        pytest.param({"photo": "s3://labels/a.txt"}, "none of PNG, JPEG, WEBP", id="text-in-the-bucket"),
        pytest.param({"photo": "file:///etc/passwd"}, "an s3:// URI, found 'file:///etc/passwd'", id="file"),
        pytest.param({"photo": "http://169.254.169.254/"}, "an s3:// URI, found 'http://", id="http"),
        pytest.param({"colour": "red"}, "instances[1]: there is no input 'colour'; this model takes", id="unknown"),
    ],
)
def test_a_wrong_value_is_the_callers_error_and_is_named(change: dict[str, Any], told: str) -> None:
    model, _ = served()
    with pytest.raises(InvalidInput) as refused:
        v1(model, ROW, {**ROW, **change})
    assert told in str(refused.value) and len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        pytest.param({"carrier": ("BYTES", ["AA"])}, "'carrier' has 2 instances|has 1 instances", id="another-batch"),
        pytest.param({"distance": ("BYTES", ["1", "2"])}, "distance.datatype must be one of INT8", id="bytes"),
        pytest.param({"night": ("FP64", [0, 1])}, "night.datatype must be BOOL, found 'FP64'", id="no-bool"),
        pytest.param({"night": ("BOOL", [0, 1])}, r"instances\[0\].night must be true or false", id="numbers"),
        pytest.param({"distance": ("FP64", [1, None])}, r"distance.data\[1\] must be a number, found null", id="null"),
        pytest.param({"when": ("BYTES", ["2026-01-31T09:00:00Z", "x"])}, r"instances\[1\].when must be", id="time"),
        pytest.param({"track": ("FP64", [[1, 2], [3]])}, "takes 4 numbers, data has 3", id="ragged"),
        pytest.param({"track": ("FP64", [[1, 2], None])}, "", id="missing-vector-is-fine"),
    ],
)
def test_a_wrong_tensor_is_the_callers_error_and_is_named(columns: dict[str, Any], told: str) -> None:
    model, _ = served()
    if not told:
        assert v2(model, tensors(**{**GIVEN, **columns}))
        return
    with pytest.raises(InvalidInput, match=told):
        v2(model, tensors(**{**GIVEN, **columns}))


def test_a_missing_tensor_is_refused_unless_its_input_is_optional() -> None:
    model, _ = served()
    with pytest.raises(InvalidInput, match="no tensor for 'when', which is not optional"):
        v2(model, tensors(**{name: column for name, column in GIVEN.items() if name != "when"}))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"", "ends in element 0", id="nothing"),
        pytest.param(b"\2\0\0\0AA", "ends in element 1", id="one-element"),
        pytest.param(b"\xff\xff\xff\xffAA", "ends in element 0", id="a-length-that-lies"),
        pytest.param(b"\2\0\0\0AA\1\0\0\0A!", "1 bytes follow element 1", id="more"),
        pytest.param(b"\2\0\0\0AA\1\0\0\0\xff", r"instances\[1\]: element 1 of carrier is not UTF-8", id="bytes"),
    ],
)
def test_elements_of_a_binary_tensor_are_counted_and_measured(data: bytes, told: str) -> None:
    model, _ = served()
    size = {"binary_data_size": len(data)}
    document = json.loads(tensors(**GIVEN))
    document["inputs"][0] = {"name": "carrier", "datatype": "BYTES", "shape": [2], "parameters": size}
    head = json.dumps(document).encode()
    with pytest.raises(InvalidInput, match=told):
        v2(model, head + data, str(len(head)))


def test_images_of_a_request_are_bounded_before_one_is_read() -> None:
    size = {"name": "photo", "type": "image", "width": 1024, "height": 1024}
    schema = spec_of(CATEGORY, [size]).examples
    num = PIXEL_BYTES_MAX // (1024 * 1024 * 3) + 1
    with pytest.raises(DataRejected, match=f"{num} images of 1024 x 1024 pixels"):
        parse_instances({"instances": ["s3://labels/gone"] * num}, schema=schema, images=RequestImages(fetch))


def test_a_failure_is_the_callers_only_for_values_outside_the_tasks_range() -> None:
    model, _ = served()
    with pytest.raises(InvalidInput, match=r"instances\[1\].distance is 90000, outside the task's range 0 to 5000"):
        v1(model, ROW, {**ROW, "distance": 90_000})
    with pytest.raises(InferenceError, match="too far"):
        v1(model, {**ROW, "distance": BREAKS})
    with pytest.raises(InferenceError, match="too far"):
        v1(model, {**ROW, "distance": BREAKS}, {**ROW, "distance": 90_000})


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        pytest.param("s3://models/a.png", "", id="in-an-allowed-bucket"),
        pytest.param("s3://models/a", "s3://models/a does not exist", id="the-beginning-of-a-key"),
        pytest.param("s3://labels/a.png", "images may be in 'models'", id="in-another-bucket"),
        pytest.param("s3://", "cannot be fetched", id="no-bucket"),
        pytest.param("s3://models/large", "33,554,433 bytes; the limit is 33,554,432", id="too-large"),
    ],
)
def test_an_image_is_fetched_from_an_allowed_bucket_after_a_look_at_its_size(uri: str, told: str) -> None:
    objects = FakeObjectStore()
    for bucket in ("models", "labels"):
        objects.put(f"s3://{bucket}/a.png", png())
    objects.put("s3://models/large", bytes(FILE_BYTES_MAX + 1))
    schema = spec_of(CATEGORY, [{"name": "x", "type": "image", "width": 4, "height": 3, "channels": 1}]).examples
    images = RequestImages(fetch_from(objects, {"models"}))
    if not told:
        assert parse_instances({"instances": [uri]}, schema=schema, images=images)["x"][0].as_py() == bytes([7] * 12)
        return
    with pytest.raises(DataRejected) as refused:
        parse_instances({"instances": [uri]}, schema=schema, images=images)
    assert told in str(refused.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["AA", "2026-01-31T09:00:00Z", "s3://labels/a.png", "s3://", {"b64": "eA=="}, PHOTO, [1, 2]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b64", "carrier", "x"]), inner),
    max_leaves=5,
)  # fmt: skip
ROWS = st.lists(st.fixed_dictionaries({name: st.just(value) | VALUES for name, value in ROW.items()},
                                      optional=dict.fromkeys(("remark", "photo", "track", "z"), VALUES)) | VALUES,
                max_size=3)  # fmt: skip
SHAPES = st.sampled_from([[1], [2], [1, 2], [2, 1]]) | VALUES
TENSORS = st.fixed_dictionaries({"inputs": st.lists(st.fixed_dictionaries({
    "name": st.sampled_from([each["name"] for each in INPUTS]), "shape": SHAPES,
    "datatype": st.sampled_from(["FP64", "BYTES", "BOOL", "INT8", "FP16"]),
    "data": st.lists(VALUES, max_size=3)}, optional={"parameters": VALUES}), max_size=5)})  # fmt: skip


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, document=TENSORS)
def test_whatever_is_sent_is_answered_or_the_callers_error(rows: list[Any], document: dict[str, Any]) -> None:
    model, _ = served(TAGS)
    for ask in (lambda: v1(model, *rows), lambda: v2(model, json.dumps(document, default=str).encode())):
        try:
            ask()
        except (InvalidInput, DataRejected) as error:
            str(error).encode()
            assert len(str(error)) < 1_000
