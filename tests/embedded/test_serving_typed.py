"""The real model server with a model of typed inputs, asked by stock clients, and by users who err."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from embedded.control_plane.host.processes import free_port, stop_group, tethered
from ratchet.settings import child_env
from tests.embedded.serving_world import PROJECT_DIR, wait_for
from tests.unit.serving.typed_model import BREAKS, ROW, png

PREDICT, INFER = "/v1/models/flights:predict", "/v2/models/flights/infer"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    log_path, port = tmp_path_factory.mktemp("typed") / "log", free_port()
    command = [sys.executable, "-m", "tests.embedded.typed_server", str(port), "tags"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            tethered(command), cwd=PROJECT_DIR, env=child_env({}), stdout=log, stderr=log, start_new_session=True
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        wait_for(lambda: client.get("/v2/models/flights/ready").status_code == 200, log_path.read_text)
        yield client
    stop_group(process.pid, grace_s=10)


def test_both_protocols_give_the_same_answer_to_named_inputs(client: httpx.Client) -> None:
    rows = [ROW, {**ROW, "distance": 4500, "night": True, "photo": {"b64": base64.b64encode(png()).decode()}}]
    answer = client.post(PREDICT, json={"instances": rows}).json()
    assert [each["label"] for each in answer["predictions"]] == [[], ["far", "night", "long, dark"]]
    inputs = [
        {"name": "carrier", "datatype": "BYTES", "shape": [2], "data": ["AA", "AA"]},
        {"name": "distance", "datatype": "FP64", "shape": [2], "data": [900, 4500]},
        {"name": "night", "datatype": "BOOL", "shape": [2], "data": [False, True]},
        {"name": "when", "datatype": "BYTES", "shape": [2], "data": [ROW["when"]] * 2},
    ]
    outputs = {each["name"]: each for each in client.post(INFER, json={"inputs": inputs}).json()["outputs"]}
    labels = [json.loads(label) for label in outputs["label"]["data"]]
    assert labels == [each["label"] for each in answer["predictions"]]
    assert outputs["probability"]["data"] == [each["probability"] for each in answer["predictions"]]
    assert answer["model_digest"] == "d" * 64


def test_the_metadata_names_every_input_and_output(client: httpx.Client) -> None:
    told = client.get("/v2/models/flights").json()
    assert [(each["name"], each["datatype"]) for each in told["inputs"]] == [
        ("carrier", "BYTES"), ("distance", "FP64"), ("night", "BOOL"), ("when", "BYTES"), ("remark", "BYTES"),
        ("delay", "FP64"), ("photo", "BYTES"), ("track", "FP64"),
    ]  # fmt: skip
    assert [each["name"] for each in told["outputs"]] == ["label", "probability", "scores"]
    assert told["outputs"][2]["shape"] == [-1, 3]


@pytest.mark.parametrize("is_binary", [False, True], ids=["json", "binary"])
def test_kserves_inference_client_sends_typed_tensors(client: httpx.Client, is_binary: bool) -> None:
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    arrays: dict[str, tuple[str, Any]] = {
        "carrier": ("BYTES", np.array([b"AA", b"new"], dtype=object)),
        "distance": ("FP32", np.array([900, 4500], dtype=np.float32)),
        "night": ("BOOL", np.array([False, True])),
        "when": ("BYTES", np.array([ROW["when"].encode()] * 2, dtype=object)),
    }
    inputs = []
    for name, (datatype, array) in arrays.items():
        inputs.append(InferInput(name, list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array, binary_data=is_binary)

    async def ask() -> Any:
        stock = InferenceRESTClient(RESTConfig(protocol="v2", retries=1, timeout=10))
        try:
            return await stock.infer(str(client.base_url), InferRequest("flights", inputs), model_name="flights")
        finally:
            await stock.close()

    answer = asyncio.run(ask())
    labels = next(output for output in answer.outputs if output.name == "label").as_numpy().tolist()
    assert [json.loads(label) for label in labels] == [[], ["far", "night", "long, dark"]]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        pytest.param(PREDICT, {"instances": [ROW, {**ROW, "distance": "far"}]},
                     "instances[1].distance must be a finite number, found 'far'", id="value"),
        pytest.param(PREDICT, {"instances": [{"carrier": "AA"}]}, "instances[0].distance is missing", id="missing"),
        pytest.param(PREDICT, {"instances": [[1, 2]]}, "instances[0] must be an object with 'carrier'", id="list"),
        pytest.param(PREDICT, {"instances": [{**ROW, "photo": "s3://labels/a.png"}]},
                     "instances[0].photo: this server may read no bucket", id="no-bucket"),
        pytest.param(PREDICT, {"instances": [{**ROW, "distance": 90_000}]}, "outside the task's range", id="outside"),
        pytest.param(INFER, {"inputs": [{"name": "distance", "shape": [1], "datatype": "FP64", "data": [1]}]},
                     "there is no tensor for 'carrier', which is not optional", id="tensor"),
        pytest.param(INFER, {"inputs": [{"name": "features", "shape": [1], "datatype": "FP64", "data": [1]}]},
                     "there is no input 'features'; this model takes 'carrier'", id="no-features-here"),
    ],
)  # fmt: skip
def test_a_mistaken_request_is_400_and_says_why(client: httpx.Client, path: str, body: Any, told: str) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400 and told in answer.json()["error"]


def test_a_failure_inside_the_ranges_is_the_models(client: httpx.Client) -> None:
    assert client.post(PREDICT, json={"instances": [{**ROW, "distance": BREAKS}]}).status_code == 500


def test_health_is_answered_while_images_are_read(client: httpx.Client) -> None:
    """Fifteen large pictures take a second; read in the event loop, they would hold every other answer back."""
    photo = {"b64": base64.b64encode(png(4_000, 3_000)).decode()}
    body = {"instances": [{**ROW, "photo": photo}] * 15}
    num_while_read = 0
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(httpx.post, f"{client.base_url}{PREDICT}", json=body, timeout=60)
        while not asked.done():
            assert client.get("/v2/health/ready").status_code == 200
            num_while_read += not asked.done()
    assert asked.result().status_code == 200 and num_while_read > 2
