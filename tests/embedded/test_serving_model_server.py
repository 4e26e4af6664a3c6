"""`python -m ratchet.serving` as a process, asked by users who err and of a model that errs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from embedded.control_plane.host.processes import free_port, stop_group, tethered
from ratchet.settings import MODEL_DIGEST_VARIABLE, child_env
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import save_model
from tests.embedded.choking_task import CRASHES, NOT_FINITE
from tests.embedded.serving_world import PROJECT_DIR, wait_for
from tests.models import DIGITS, changed, digits_model

PREDICT, INFER = "/v1/models/digits:predict", "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str]]:
    """A client of one connection, and the model's digest."""
    folder = tmp_path_factory.mktemp("choking")
    spec = changed(DIGITS, {"implementation": "tests.embedded.choking_task:ChokingDigits"})
    digest = save_model(folder, spec=spec, network=load_task(spec).build_model())
    port = free_port()
    command = ["-m", "ratchet.serving", "--model_name", "digits", "--model_dir", str(folder), "--http_port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            tethered([sys.executable, *command]),
            cwd=PROJECT_DIR,
            env=child_env({}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=10) as client:
        wait_for(lambda: client.get("/v2/models/digits/ready").status_code == 200, (folder / "log").read_text)
        yield client, digest
    stop_group(process.pid, grace_s=10)


def instances(first: float) -> dict:
    return {"instances": [[first, *[0.0] * 63]]}


@pytest.mark.parametrize("first", [CRASHES, NOT_FINITE], ids=["exception", "output-is-not-finite"])
def test_a_model_that_fails_is_a_500_and_the_connection_lives_on(served, first):
    client, digest = served
    ports = set()
    for _ in range(5):
        response = client.post(PREDICT, json=instances(first))
        assert response.status_code == 500 and response.headers["x-ratchet-model"] == digest
        assert "digits: the model" in response.json()["error"]
        ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        assert client.post(PREDICT, json=instances(0)).status_code == 200
    assert len(ports) == 1, "the same connection all the time"


def test_every_answer_names_the_model_errors_too(served):
    client, digest = served
    for response in (
        client.post(PREDICT, json=instances(1)),
        client.post(PREDICT, json={"instances": [[1]]}),
        client.post(PREDICT, content=b"{", headers={"content-type": "application/json"}),
        client.post("/v1/models/other:predict", json=instances(1)),
        client.get("/nowhere"),
        client.get("/v2/models/digits/ready"),
    ):
        assert response.headers["x-ratchet-model"] == digest, response.request.url


def test_both_protocols_give_the_same_answer(served):
    client, digest = served
    features = [float(n % 17) for n in range(64)]
    v1 = client.post(PREDICT, json={"instances": [features]}).json()
    tensor = {"name": "features", "shape": [1, 64], "datatype": "FP64", "data": features}
    v2 = client.post(INFER, json={"id": "7", "inputs": [tensor]}).json()
    outputs = {output["name"]: output["data"] for output in v2["outputs"]}
    assert v1["predictions"] == [{"label": outputs["label"][0], "probability": outputs["probability"][0]}]
    assert v1["model_digest"] == v2["parameters"]["model_digest"] == digest and v2["id"] == "7"
    assert 0 < outputs["probability"][0] <= 1 and outputs["label"][0] in DIGITS.classes


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([], id="none"),
        pytest.param([{"name": "features", "shape": [1, 63], "datatype": "FP32", "data": [0.0] * 63}], id="features"),
        pytest.param(
            [{"name": "features", "shape": [2, 64], "datatype": "FP32", "data": [0.0] * 64}], id="data-and-shape"
        ),
        pytest.param([{"name": "features", "shape": [1, 64], "datatype": "BYTES", "data": ["a"] * 64}], id="text"),
        pytest.param([{"name": "features", "shape": [1, 64], "datatype": "FP99", "data": [0.0] * 64}], id="datatype"),
    ],
)
def test_a_wrong_tensor_is_the_users_error(served, inputs):
    client, _ = served
    assert client.post(INFER, json={"inputs": inputs}).status_code == 400


def test_a_body_sent_without_a_content_type_of_json_is_read_all_the_same(served):
    client, _ = served
    curl = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post(PREDICT, content=b'{"instances": [' + str([0.0] * 64).encode() + b"]}", headers=curl).is_success
    assert client.post(PREDICT, content=b"a=b", headers=curl).status_code == 400


def test_a_folder_without_a_model_ends_at_once_with_a_clear_line(tmp_path: Path):
    command = [sys.executable, "-m", "ratchet.serving", "--model_name", "x", "--model_dir", str(tmp_path)]
    done = subprocess.run(command, env=child_env({}), cwd=PROJECT_DIR, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "no model.safetensors in it" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("told_by", ["argument", "environment"])
def test_a_folder_that_is_not_the_expected_model_serves_nothing_and_runs_nothing(tmp_path: Path, told_by: str) -> None:
    digest = digits_model(tmp_path)
    (tmp_path / "code" / "ratchet" / "tasks" / "digits.py").write_text("print('it ran')\n")
    command = [sys.executable, "-m", "ratchet.serving", "--model_name", "x", "--model_dir", str(tmp_path)]
    command += ["--model_digest", digest] if told_by == "argument" else []
    env = child_env({MODEL_DIGEST_VARIABLE: digest} if told_by == "environment" else {})
    done = subprocess.run(command, env=env, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=90)
    assert done.returncode == 3 and "it ran" not in done.stdout
    assert f"model digits {digest[:12]} was expected" in done.stderr
    assert "code/ratchet/tasks/digits.py has changed" in done.stderr
