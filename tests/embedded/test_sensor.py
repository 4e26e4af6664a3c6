"""The sensor as a real process, against a real object store, a real KFP server and a real dataset repository."""

import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from embedded.control_plane.host.processes import free_port, stop_group, tethered
from pipelines.publish import publish
from ratchet.actions.runs.retraining import RetrainPorts
from ratchet.adapters.clock import SystemClock
from ratchet.adapters.dvc import DvcDatasetStore
from ratchet.adapters.kfp import KfpPipelines
from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.adapters.sensor_service import SensorService
from ratchet.core.errors import Unavailable
from ratchet.settings import Settings, child_env
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.signals import Signals
from tests.conftest import PROJECT_DIR
from tests.kfp_server import compile_tiny, kfp_server
from tests.stores import label_stores

WITHIN_S = 120.0
pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def settings(s3_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("sensor")
    repo = folder / "datasets.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repo], check=True)
    with kfp_server(folder) as kfp:
        update = {"kfp_endpoint": kfp.kfp_endpoint, "dataset_repo": str(repo), "state_dir": folder / "state"}
        made = s3_settings.model_copy(update=update)
        publish(KfpPipelineCatalog.of(made), compile_tiny(folder / "retrain.yaml"))
        yield made


@pytest.fixture(scope="module")
def ports(settings: Settings) -> RetrainPorts:
    objects = S3ObjectStore.of(settings)
    labels = S3LabelStore(objects, bucket=settings.labels_bucket)
    datasets = DvcDatasetStore.of(settings, objects)
    return RetrainPorts(
        stores=label_stores(labels, datasets, objects, bucket=settings.ratchet_bucket),
        signals=Signals(objects, settings.ratchet_bucket),
        pipelines=KfpPipelines.of(settings),
        journal=RunJournal(objects, settings.ratchet_bucket),
        clock=SystemClock(),
    )


def push(ports: RetrainPorts, task: str, num_labels: int = 2) -> None:
    ports.stores.labels.put_shard(
        task, f'{{"id": "{secrets.token_hex(8)}"}}\n'.encode() * num_labels, num_labels=num_labels
    )


def wait_until(condition, what: str):
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            if (answer := condition()) is not None and answer is not False:
                return answer
        except Unavailable:
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_the_service_starts_a_run_survives_kfp_being_down_and_stops(settings, ports, tmp_path):
    port, kfp_port = free_port(), free_port()
    log = tmp_path / "sensor.log"
    kfp_dir = tmp_path / "kfp"
    kfp_dir.mkdir()
    of_service = settings.model_copy(
        update={
            "kfp_endpoint": f"http://127.0.0.1:{kfp_port}",
            "sensor_interval_s": 0.2,
            "configs_dir": PROJECT_DIR / "configs",
        }
    )
    sensor = SensorService(f"http://127.0.0.1:{port}", token=settings.sensor_token.get_secret_value())
    with log.open("wb") as output:
        process = subprocess.Popen(
            tethered([sys.executable, "-m", "sensors.label_sensor", "--port", str(port)]),
            env=child_env(of_service.as_env()),
            cwd=PROJECT_DIR,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        push(ports, "digits", 200)
        down = wait_until(lambda: sensor.fetch_status() or None, "a first tick")
        assert (down[0]["outcome"], "ratchet up" in down[0]["reason"]) == ("error", True)
        with kfp_server(kfp_dir, port=kfp_port) as kfp:
            publish(KfpPipelineCatalog.of(kfp), compile_tiny(tmp_path / "retrain.yaml"))
            pipelines = KfpPipelines.of(kfp)
            runs = wait_until(lambda: list(pipelines.list_runs(experiment="digits")) or None, "a run")
            answer = sensor.tick("digits", timeout_s=WITHIN_S)
            assert "in flight" in answer["reason"]
            assert len(pipelines.list_runs(experiment="digits")) == len(runs) == 1
        wait_until(lambda: sensor.fetch_status()[0]["outcome"] == "error", "KFP is down again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) in (0, -signal.SIGTERM), log.read_text()
    finally:
        stop_group(process.pid, grace_s=5)
    told = log.read_text()
    assert "Traceback" not in told
    assert told.count('"outcome": "error"') <= 4, "one line a change, not one a tick"
