"""The two protocols of the model server, in process: whatever a caller sends, an answer or a 4xx that says why."""

import json
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from ratchet.core.labels.schema import CategoryOutput, ExampleSchema, VectorInput
from ratchet.serving.ranges import find_outside
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import ServableModel
from tests.embedded.choking_task import CRASHES, NOT_FINITE
from tests.models import DIGITS, changed

V1, V2 = "/v1/models/digits:predict", "/v2/models/digits/infer"
FEATURES = [float(n % 17) for n in range(64)]
ROWS = np.array([FEATURES, FEATURES[::-1], [0.0] * 64])
LENGTH = "inference-header-content-length"


@pytest.fixture(scope="module")
def model() -> ServableModel:
    spec = changed(DIGITS, {"implementation": "tests.embedded.choking_task:ChokingDigits"})
    task = load_task(spec)
    return ServableModel(spec, task, task.build_model().eval(), "d" * 64)


@pytest.fixture(scope="module")
def client(model: ServableModel) -> TestClient:
    from ratchet.serving.http_app import HttpApp
    from ratchet.serving.model import ServedModel

    served = ServedModel("digits", model)
    served.load()
    app: Any = HttpApp(served, digest=model.digest, bytes_max=1 << 20)
    return TestClient(app, raise_server_exceptions=False)


def test_a_loop_that_stands_still_ends_liveness_and_no_readiness(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe may restart the server; no user loses the model for a log of it."""
    from ratchet.serving.model import ServedModel

    assert client.get("/v2/health/live").json() == {"live": True}
    monkeypatch.setattr(ServedModel, "standstill", "loop payloads has ended")
    assert client.get("/v2/health/live").status_code == 503
    assert client.get("/v2/models/digits/ready").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200


def tensor(data: Any = FEATURES, **fields: Any) -> dict[str, Any]:
    found = {"name": "features", "shape": [1, 64], "datatype": "FP64", "data": data, **fields}
    return {name: value for name, value in found.items() if value is not ...}


def infer(client: TestClient, document: Any, *, tail: bytes = b"", length: Any = None) -> Any:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = {"content-type": "application/octet-stream" if tail else "application/json"}
    if tail or length is not None:
        headers[LENGTH] = str(len(head)) if length is None else length
    return client.post(V2, content=head + tail, headers=headers)


def outputs_of(answer: dict[str, Any]) -> dict[str, Any]:
    return {output["name"]: output["data"] for output in answer["outputs"]}


def test_valid_requests_have_the_models_own_numbers(client: TestClient, model: ServableModel) -> None:
    proba_BK = model.predict_proba(ROWS)
    labels = [DIGITS.classes[index] for index in proba_BK.argmax(axis=1)]
    answer = client.post(V1, json={"instances": ROWS.tolist()}).json()
    assert answer["predictions"] == [
        {"label": label, "probability": probability}
        for label, probability in zip(labels, proba_BK.max(axis=1).tolist(), strict=True)
    ]
    flat, nested = ROWS.ravel().tolist(), ROWS.tolist()
    for data in (flat, nested):
        outputs = outputs_of(infer(client, {"inputs": [tensor(data, shape=[3, 64])]}).json())
        assert outputs["label"] == labels and outputs["probability"] == proba_BK.max(axis=1).tolist()
        assert outputs["scores"] == proba_BK.ravel().tolist()


@pytest.mark.parametrize("datatype", ["INT8", "UINT8", "INT64", "UINT32", "FP16", "FP32", "FP64", "fp32"])
def test_every_numeric_type_and_the_binary_extension_give_the_same_answer(client: TestClient, datatype: str) -> None:
    expected = outputs_of(infer(client, {"inputs": [tensor()]}).json())
    kind = {"INT8": "i1", "UINT8": "u1", "INT64": "<i8", "UINT32": "<u4", "FP16": "<f2", "FP64": "<f8"}
    data = np.array(FEATURES).astype(kind.get(datatype, "<f4")).tobytes()
    size = {"binary_data_size": len(data)}
    binary = infer(client, {"inputs": [tensor(..., datatype=datatype, parameters=size)]}, tail=data)
    assert outputs_of(binary.json()) == expected
    if datatype != "FP16":
        assert outputs_of(infer(client, {"inputs": [tensor(datatype=datatype)]}).json()) == expected


def test_outputs_selects_in_the_order_asked_for(client: TestClient) -> None:
    for names in (["scores"], ["probability", "label"], []):
        answer = infer(client, {"inputs": [tensor()], "outputs": [{"name": name} for name in names]})
        assert [output["name"] for output in answer.json()["outputs"]] == (names or ["label", "probability", "scores"])


def test_an_output_is_sent_in_binary_when_asked_for(client: TestClient) -> None:
    expected = outputs_of(infer(client, {"inputs": [tensor()]}).json())
    asked = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "label"}]
    answer = infer(client, {"inputs": [tensor()], "outputs": asked})
    length = int(answer.headers[LENGTH])
    head, scores = json.loads(answer.content[:length]), answer.content[length:]
    assert struct.unpack("<10d", scores) == tuple(expected["scores"])
    assert [output.get("data") for output in head["outputs"]] == [None, expected["label"]]


def test_metadata_says_names_types_and_shapes_of_what_is_answered(client: TestClient) -> None:
    found = client.get("/v2/models/digits").json()
    assert found["inputs"] == [{"name": "features", "datatype": "FP64", "shape": [-1, 64]}]
    answer = infer(client, {"inputs": [tensor()]}).json()
    assert [(each["name"], each["datatype"], len(each["shape"])) for each in found["outputs"]] == [
        (each["name"], each["datatype"], len(each["shape"])) for each in answer["outputs"]
    ]
    assert found["outputs"][2]["shape"] == [-1, 10]
    assert json.loads(answer["outputs"][2]["parameters"]["classes"]) == list(DIGITS.classes)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        pytest.param({}, "inputs is missing", id="no-inputs"),
        pytest.param([], "must be a JSON object", id="list"),
        pytest.param({"inputs": {}}, "inputs must be a list", id="inputs-object"),
        pytest.param({"inputs": [1]}, "must be a JSON object, found 1", id="input-number"),
        pytest.param({"inputs": [tensor(name="pixels")]}, "no input 'pixels'; this model takes", id="unknown"),
        pytest.param({"inputs": [tensor(name=...)]}, "no input null", id="no-name"),
        pytest.param({"inputs": [tensor(), tensor()]}, "'features' is given 2 times", id="twice"),
        pytest.param({"inputs": [tensor(shape=...)]}, "shape must be a list", id="no-shape"),
        pytest.param({"inputs": [tensor(shape=[1, -64])]}, "whole numbers of at least 0", id="negative-shape"),
        pytest.param({"inputs": [tensor(shape=[True, 64])]}, "found [true, 64]", id="boolean-shape"),
        pytest.param({"inputs": [tensor(shape=[1, 64.0])]}, "found [1, 64.0]", id="fractional-shape"),
        pytest.param({"inputs": [tensor(shape=[10**12, 64])]}, "1 to 4096 are allowed", id="huge-batch"),
        pytest.param({"inputs": [tensor(shape=[1, 2**62])]}, "takes [batch, 64]", id="huge-width"),
        pytest.param({"inputs": [tensor(shape=[1] * 500)]}, "takes [batch, 64]", id="many-dimensions"),
        pytest.param({"inputs": [tensor(shape=[0, 64], data=[])]}, "0 instances", id="empty-batch"),
        pytest.param({"inputs": [tensor(datatype=...)]}, "datatype must be one of", id="no-datatype"),
        pytest.param({"inputs": [tensor(datatype="FP99")]}, "found 'FP99'", id="unknown-datatype"),
        pytest.param({"inputs": [tensor(datatype="BYTES")]}, "datatype must be one of", id="bytes"),
        pytest.param({"inputs": [tensor(datatype="BOOL", data=[True] * 64)]}, "datatype must be one of", id="bool"),
        pytest.param({"inputs": [tensor(data=...)]}, "data is missing", id="no-data"),
        pytest.param({"inputs": [tensor(data=[True] * 64)]}, "data[0] must be a number, found true", id="booleans"),
        pytest.param({"inputs": [tensor(data=["1"] * 64)]}, "data[0] must be a number, found '1'", id="texts"),
        pytest.param({"inputs": [tensor(data=[0.0] * 63)]}, "takes 64 numbers, data has 63", id="too-few"),
        pytest.param({"inputs": [tensor(data=[[[0.0] * 64]])]}, "takes 64 numbers, data has 1", id="nested-deep"),
        pytest.param({"inputs": [tensor(datatype="UINT8", data=[256.0] * 64)]}, "0 to 255, found 256", id="too-large"),
        pytest.param({"inputs": [tensor(datatype="INT8", data=[1.5] * 64)]}, "-128 to 127, found 1.5", id="fraction"),
        pytest.param({"inputs": [tensor(datatype="FP32", data=[1e308] * 64)]}, "not finite", id="overflows-the-type"),
        pytest.param({"inputs": [tensor(datatype="FP16")]}, "FP16 has no JSON form", id="fp16"),
        pytest.param({"inputs": [tensor(data=[1e308] * 64)]}, "outside the task's range", id="overflows-inside"),
        pytest.param({"inputs": [tensor()], "id": 7}, "id must be text", id="id"),
        pytest.param({"inputs": [tensor()], "parameters": []}, "parameters must be a JSON object", id="parameters"),
        pytest.param({"inputs": [tensor()], "parameters": {"a": []}}, "must be text, a number", id="parameter-list"),
        pytest.param({"inputs": [tensor()], "parameters": {"binary_data_output": 1}}, "true or false", id="flag"),
        pytest.param({"inputs": [tensor(parameters={"binary_data_size": -1})]}, "binary_data_size", id="size"),
        pytest.param({"inputs": [tensor(parameters={"binary_data_size": 512})]}, "both data and", id="data-twice"),
        pytest.param({"inputs": [tensor()], "outputs": [{"name": "nope"}]}, "no output 'nope'", id="unknown-output"),
        pytest.param({"inputs": [tensor()], "outputs": [{"name": "label"}] * 2}, "named twice", id="output-twice"),
        pytest.param({"inputs": [tensor()], "outputs": [{}]}, "no output null", id="output-without-a-name"),
        pytest.param({"inputs": [tensor()], "outputs": 1}, "outputs must be a list", id="outputs-number"),
        pytest.param(b'{"inputs": [{"name": "\\ud800"}]}', "not JSON", id="surrogate"),
        pytest.param(b'{"inputs": NaN}', "not JSON", id="nan"),
        pytest.param(b'{"a": ' + b"[" * 100_000, "not JSON", id="deep"),
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"\xff\xfe", "not JSON", id="bytes-of-no-text"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_400_and_says_why(client: TestClient, document: Any, told: str) -> None:
    answer = infer(client, document)
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["error"] and len(answer.content) < 1_000


@pytest.mark.parametrize(
    ("parameters", "tail", "length"),
    [
        pytest.param({"binary_data_size": 512}, b"", None, id="no-bytes"),
        pytest.param({"binary_data_size": 512}, b"\0" * 511, None, id="one-byte-short"),
        pytest.param({"binary_data_size": 512}, b"\0" * 513, None, id="one-byte-more"),
        pytest.param({"binary_data_size": 8}, b"\0" * 8, None, id="another-size-than-the-shape"),
        pytest.param({"binary_data_size": 10**30}, b"\0" * 8, None, id="huge-size"),
        pytest.param({}, b"\0" * 8, None, id="unasked-for"),
        *(
            pytest.param({"binary_data_size": 512}, b"\0" * 512, length, id=f"header-{index}")
            for index, length in enumerate(["-1", "x", "99999", "1e3", "", "9" * 5000, "5", "0"])
        ),
    ],
)
def test_a_malformed_binary_request_is_400(client: TestClient, parameters: Any, tail: bytes, length: Any) -> None:
    answer = infer(client, {"inputs": [tensor(..., parameters=parameters)]}, tail=tail, length=length)
    assert answer.status_code == 400, answer.text


def test_what_the_model_cannot_compute_is_the_callers_fault_only_outside_the_tasks_range(client: TestClient) -> None:
    beside = [16.5, *FEATURES[1:]]
    assert client.post(V1, json={"instances": [beside]}).status_code == 200, "it is answered as learned"
    overflow = client.post(V1, json={"instances": [FEATURES, [*FEATURES[:63], 1e308]]})
    assert overflow.status_code == 400
    assert "instances[1][63] is 1e+308, outside the task's range 0 to 16" in overflow.json()["error"]
    for fails in (NOT_FINITE, CRASHES):
        failing = [fails, *FEATURES[1:]]
        assert client.post(V1, json={"instances": [failing]}).status_code == 500
        beside_failing = client.post(V1, json={"instances": [failing, [1e308] * 64]})
        assert beside_failing.status_code == 500, "a wrong instance beside it does not excuse the model"


def test_what_a_32_bit_float_cannot_hold_is_outside_every_range() -> None:
    vector = VectorInput(name="v", size=2, min=-1e308, max=1e308)
    endless = ExampleSchema(inputs=(vector,), output=CategoryOutput(classes=("a", "b")))
    inputs = pa.table({"v": [[1e38, -1e38], [1.0, 1e39], [-1e308, 0.0]]})
    found = find_outside(inputs, endless)
    assert found.is_inside_B.tolist() == [True, False, False]
    assert "instances[1][1] is 1e+39, outside the range of 32-bit floats" in found.text
    assert find_outside(inputs[:1], endless).text == ""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("POST", "/v1/models/digits:explain", id="explain"),
        pytest.param("POST", "/v1/models/nobody:explain", id="explain-unknown"),
        pytest.param("POST", "/v1/models/digits:classify", id="another-verb"),
        pytest.param("POST", "/v1/models/nobody:predict", id="unknown-model"),
        pytest.param("POST", "/v2/models/nobody/infer", id="unknown-model-v2"),
        pytest.param("POST", "/v2/models/digits/generate", id="generate"),
        pytest.param("POST", "/v2/models/digits/load", id="load"),
        pytest.param("PUT", V1, id="put"),
        pytest.param("DELETE", V2, id="delete"),
        pytest.param("GET", "/v1/models/nobody", id="metadata-of-nobody"),
        pytest.param("GET", "/v2/models/nobody/ready", id="readiness-of-nobody"),
    ],
)
def test_what_this_server_does_not_have_is_the_callers_error(client: TestClient, method: str, path: str) -> None:
    """A 5xx counts against the revision that answers, so no client may cause one at will."""
    answer = client.request(method, path, json={"instances": [FEATURES]})
    assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps({"instances": [FEATURES]}).encode(), id="right"),
        pytest.param(json.dumps({"instances": [FEATURES[1:]]}).encode(), id="too-short"),
        pytest.param(json.dumps({"instances": [[CRASHES, *FEATURES[1:]]]}).encode(), id="the-model-fails"),
        pytest.param(b"[1]", id="no-object"),
    ],
)
def test_the_content_type_changes_no_answer(client: TestClient, body: bytes) -> None:
    """`curl -d` says that it sends a form."""
    short, long = (
        client.post(V1, content=body, headers={"content-type": kind})
        for kind in ("application/json", "application/x-www-form-urlencoded")
    )
    assert (short.status_code, short.json()) == (long.status_code, long.json())
    assert short.headers["content-type"] == long.headers["content-type"]


def test_versions_are_not_addressed_by_path(client: TestClient) -> None:
    for method, path in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
        assert client.request(method, f"/v2/models/digits/versions/1{path}").status_code == 404


CLOUD_EVENT = {"specversion": "1.0", "type": "t", "source": "s", "id": "1", "time": "never", "data": {"instances": []}}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(CLOUD_EVENT, {}, id="structured"),
        pytest.param({**CLOUD_EVENT, "data": {"instances": [FEATURES]}}, {}, id="bad-time"),
        pytest.param({**CLOUD_EVENT, "data": {"instances": [FEATURES]}, "id": []},
                     {"content-type": "application/cloudevents+json"}, id="bad-id"),
        pytest.param({"instances": [FEATURES]}, {"ce-specversion": "9", "ce-type": "", "ce-source": "", "ce-id": ""},
                     id="bad-headers"),
        pytest.param({"instances": [FEATURES]}, {"ce-specversion": "1.0", "ce-type": "t", "ce-source": "s",
                                                 "ce-id": "1", "ce-time": "x"}, id="bad-header-time"),
        pytest.param({"instances": {"a": "b"}}, {}, id="object"),
    ],
)  # fmt: skip
def test_an_odd_v1_request_is_no_server_error(client: TestClient, body: Any, headers: dict[str, str]) -> None:
    assert client.post(V1, json=body, headers=headers).status_code in {200, 400}


def test_an_event_is_answered_by_an_event_of_the_same_form(client: TestClient) -> None:
    asked = {"instances": [FEATURES]}
    plain = client.post(V1, json=asked).json()
    told = {"specversion": "1.0", "type": "t", "source": "s", "id": "1", "time": "2026-01-31T09:00:00Z"}
    binary = client.post(V1, json=asked, headers={f"ce-{name}": value for name, value in told.items()})
    assert binary.json() == plain and binary.headers["content-type"] == "application/json"
    assert binary.headers["ce-source"] == "io.kserve.inference.digits"
    kind = "application/cloudevents+json"
    structured = client.post(V1, content=json.dumps({**told, "data": asked}), headers={"content-type": kind})
    assert structured.json()["data"] == plain and structured.headers["content-type"] == kind
    assert structured.json()["type"] == binary.headers["ce-type"] == "io.kserve.inference.response"
    assert structured.json()["id"] != binary.headers["ce-id"] != told["id"]


def test_the_metrics_have_kserves_names_and_count_each_request(client: TestClient) -> None:
    def counts() -> list[float]:
        text = client.get("/metrics").text
        names = [f"request_{each}_seconds_count" for each in ("preprocess", "predict", "postprocess")]
        return [
            float(line.rpartition(" ")[2])
            for name in names
            for line in text.splitlines()
            if line.startswith(f'{name}{{model_name="digits"}}')
        ]

    before = counts()
    client.post(V1, json={"instances": [FEATURES]})
    infer(client, {"inputs": [tensor()]})
    assert len(before) == 3 and counts() == [number + 2 for number in before]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(width=64),
    st.text(st.characters(exclude_categories=()), max_size=5), st.sampled_from(["FP64", "features", "label", 10**400]),
)  # fmt: skip
KEYS = st.sampled_from(["inputs", "outputs", "id", "parameters", "name", "shape", "datatype", "data", "instances",
                        "binary_data_size", "binary_data", "binary_data_output", "specversion", "x"])  # fmt: skip
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
BENT = st.fixed_dictionaries(
    {"inputs": st.lists(st.fixed_dictionaries({
        "name": st.just("features") | SCALARS, "shape": st.just([1, 64]) | ANYTHING,
        "datatype": st.sampled_from(["FP64", "FP32", "INT8", "UINT64"]) | SCALARS,
        "data": st.lists(SCALARS, min_size=64, max_size=64) | st.just(FEATURES) | ANYTHING,
    }, optional={"parameters": ANYTHING}), max_size=2)},
    optional={"outputs": st.lists(st.fixed_dictionaries({"name": st.just("label") | SCALARS},
                                                        optional={"parameters": ANYTHING}), max_size=2),
              "id": SCALARS, "parameters": ANYTHING},
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    document=BENT | ANYTHING | st.binary(max_size=80),
    tail=st.binary(max_size=20),
    length=st.none() | st.text("0123456789-+e x", max_size=4),
)
@example(document={"instances": [[float("nan")] * 64]}, tail=b"", length=None)
def test_no_body_is_a_server_error(client: TestClient, document: Any, tail: bytes, length: str | None) -> None:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    for path in (V1, V2):
        for kind in ("application/json", "application/octet-stream"):
            headers = {"content-type": kind}
            if length is not None:
                headers[LENGTH] = length
            assert client.post(path, content=head + tail, headers=headers).status_code < 500, (path, document)
