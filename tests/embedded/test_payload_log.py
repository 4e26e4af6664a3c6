"""`python -m ratchet.serving` as a process, its payload log in a real bucket: kept, bounded, never in the way."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from embedded.control_plane.host.processes import free_port, stop_group, tethered
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_payloads import S3PayloadLog
from ratchet.core.rollout.payloads import Prediction, is_sampled
from ratchet.settings import Settings, child_env
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import save_model
from tests.embedded.serving_world import PROJECT_DIR, wait_for
from tests.models import DIGITS

pytestmark = pytest.mark.stack
FEATURES = [float(number % 17) for number in range(64)]
V1 = {"instances": [FEATURES, FEATURES]}
V2 = {"inputs": [{"name": "features", "shape": [1, 64], "datatype": "FP64", "data": FEATURES}]}
START = datetime(2026, 1, 1, tzinfo=UTC)


class Served:
    """A model server of a task of its own name."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.task = f"t{secrets.token_hex(4)}"
        spec = DIGITS.model_copy(update={"name": self.task})
        self.digest = save_model(folder / "model", spec=spec, network=load_task(spec).build_model())
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{(port := free_port())}", timeout=10)
        self.log = folder / "log"
        command = ["-m", "ratchet.serving", "--model_name=digits", f"--model_dir={folder / 'model'}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                tethered([sys.executable, *command, f"--http_port={port}"]),
                cwd=PROJECT_DIR,
                env=child_env(env),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: self.client.get("/v2/models/digits/ready").status_code == 200, self.log.read_text)

    def ask(self, request_id: str | None = None, *, body: dict = V1, path: str = "/v1/models/digits:predict") -> str:
        """Gives the id of the request, as the answer says it."""
        headers = {"x-request-id": request_id} if request_id is not None else {}
        response = self.client.post(path, json=body, headers=headers)
        assert response.is_success, response.text
        return response.headers["x-request-id"]

    def stop(self) -> float:
        """Seconds that it takes."""
        began_s = time.monotonic()
        stop_group(self.process.pid, grace_s=12)
        self.process.wait()
        return time.monotonic() - began_s


@contextmanager
def serve(folder: Path, env: Mapping[str, str]) -> Iterator[Served]:
    served = Served(folder, env)
    try:
        yield served
    finally:
        stop_group(served.process.pid, grace_s=5)
        served.client.close()


@pytest.fixture
def env_of(s3_settings: Settings) -> Callable[..., dict[str, str]]:
    """What the embedded stack's Secret `ratchet-serving` holds, with other values where asked for."""
    folder = s3_settings.state_dir / "secrets" / "ratchet-serving"
    return lambda **others: {file.name: file.read_text() for file in folder.iterdir()} | others


@pytest.fixture
def predictions(s3_settings: Settings) -> Callable[[str], list[Prediction]]:
    log = S3PayloadLog(S3ObjectStore.of(s3_settings), bucket="ratchet")
    return lambda task: list(log.list_predictions(task, since=START))


def test_answers_are_kept_by_the_id_of_their_request(tmp_path, env_of, predictions):
    with serve(tmp_path, env_of()) as served:
        assert served.ask("mine") == "mine"
        made = served.ask()
        assert len(made) == 32
        served.ask("tensor", body=V2, path="/v2/models/digits/infer")
        assert served.client.post("/v1/models/digits:predict", json={"instances": [[1]]}).status_code == 400
        wait_for(lambda: len(predictions(served.task)) == 3, "a flush within a second")
        kept = {each.request_id: each for each in predictions(served.task)}
        assert set(kept) == {"mine", made, "tensor"}
        assert kept["mine"].features == (tuple(FEATURES),) * 2 and len(kept["tensor"].labels) == 1
        assert {each.model_digest for each in kept.values()} == {served.digest}
        answer = served.client.post("/v1/models/digits:predict", json=V1).json()["predictions"]
        assert [each["label"] for each in answer] == list(kept["mine"].labels)
        assert "ratchet_payloads_logged_total 3.0" in served.client.get("/metrics").text

        last = [served.ask() for _ in range(20)]
        assert served.stop() < 8
        assert set(last) <= {each.request_id for each in predictions(served.task)}, "flushed when it was told to stop"


def test_each_revision_samples_the_same_requests(tmp_path, env_of, predictions):
    ids = [f"request-{number}" for number in range(40)]
    with serve(tmp_path, env_of(RATCHET_PAYLOAD_SAMPLE_RATIO="0.5")) as served:
        for request_id in ids:
            served.ask(request_id)
        served.stop()
        assert [each.request_id for each in predictions(served.task)] == [each for each in ids if is_sampled(each, 0.5)]


def test_a_model_serves_while_nobody_takes_its_log(tmp_path, env_of):
    with serve(tmp_path, env_of(RATCHET_S3_ENDPOINT="http://127.0.0.1:9")) as served:
        for _ in range(3):
            served.ask()
        assert served.stop() < 8, "a flush that cannot be done is given up"
        assert "3 answers" in served.log.read_text()
