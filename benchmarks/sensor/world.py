"""A real object store, KFP server and sensor, and between store and sensor a forwarder that loses hints on request."""

import http.server
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl
from pydantic import SecretStr

from benchmarks.engine import control_plane
from embedded.control_plane.host.processes import free_port, is_port_free, stop_group, tethered
from embedded.credentials import Credentials
from embedded.layout import Layout, make_socket_dir, remove_socket_dir
from embedded.object_store import make_buckets, object_store_service, write_object_store_files, write_webhook
from embedded.ports import plan_ports, random_ports
from embedded.repositories import make_dataset_repo
from pipelines.publish import publish
from ratchet.adapters.kfp import KfpPipelines
from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.adapters.sensor_service import SensorService
from ratchet.core.errors import Unavailable
from ratchet.settings import Settings, child_env

PROJECT_DIR = Path(__file__).parents[2]
READY_WITHIN_S = 60.0
THRESHOLD = 1
"""Each label is worth a run, so each lag is that of one hint."""


@dsl.component(base_image="example/benchmark:1", install_kfp_package=False)
def nothing(task: str) -> None:
    pass


@dsl.pipeline(name="retrain")
def tiny(task: str, run_key: str = "") -> None:
    nothing(task=task).set_caching_options(False)


class Forwarder:
    """Takes what the object store sends and passes it on, but for a share of it that it loses."""

    def __init__(self, *, seed: int) -> None:
        self.drop_ratio = 0.0
        self.target = ""
        self.num_dropped = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        forwarder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if not forwarder.is_lost():
                    forwarder.forward(body, self.headers.get("authorization", ""))
                self.send_response(202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def is_lost(self) -> bool:
        with self._lock:
            is_lost = self._random.random() < self.drop_ratio
            self.num_dropped += is_lost
            return is_lost

    def forward(self, body: bytes, authorization: str) -> None:
        headers = {"authorization": authorization, "content-type": "application/json"}
        request = urllib.request.Request(f"{self.target}/events", data=body, headers=headers)
        with suppress(OSError), urllib.request.urlopen(request, timeout=5):
            pass

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class World:
    """What a measurement speaks to."""

    tasks: tuple[str, ...]
    labels: S3LabelStore
    pipelines: KfpPipelines
    sensor: SensorService
    forwarder: Forwarder


@contextmanager
def running_world(folder: Path, *, num_tasks: int, interval_s: float) -> Iterator[World]:
    """Started on free ports, in `folder`; gone at the end."""
    tasks = tuple(f"task-{number}" for number in range(num_tasks))
    forwarder, port = Forwarder(seed=4), free_port()
    forwarder.target = f"http://127.0.0.1:{port}"
    try:
        with _object_store(folder, hints_to=forwarder.url) as of_store, control_plane(_made(folder / "kfp")) as kfp:
            repo = folder / "datasets.git"
            make_dataset_repo(repo)
            own = {
                "kfp_endpoint": kfp,
                "dataset_repo": str(repo),
                "configs_dir": _write_configs(folder / "configs", tasks),
                "sensor_endpoint": forwarder.target,
                "sensor_interval_s": interval_s,
            }
            settings = of_store.model_copy(update=own)
            compiler.Compiler().compile(tiny, str(folder / "retrain.yaml"))
            publish(KfpPipelineCatalog.of(settings), folder / "retrain.yaml")
            words = ["-m", "sensors.label_sensor", "--port", str(port)]
            with _process([sys.executable, *words], folder / "sensor.log", env=settings.as_env(), cwd=PROJECT_DIR):
                sensor = SensorService.of(settings)
                wait_until(lambda: len(sensor.fetch_status()) == num_tasks, "the sensor has looked at every task")
                labels = S3LabelStore(S3ObjectStore.of(settings), bucket=settings.labels_bucket)
                yield World(tasks, labels, KfpPipelines.of(settings), sensor, forwarder)
    finally:
        forwarder.close()


def wait_until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        with suppress(Unavailable, OSError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {READY_WITHIN_S:.0f} s: {what}")
        time.sleep(0.05)


@contextmanager
def _object_store(folder: Path, *, hints_to: str) -> Iterator[Settings]:
    layout, credentials = Layout(state_dir=folder / "s3"), Credentials()
    ports = plan_ports(remembered={}, is_free=is_port_free, candidates=random_ports())
    settings = Settings(
        s3_endpoint=f"http://127.0.0.1:{ports.s3}",
        s3_access_key=credentials.s3.access_key,
        s3_secret_key=SecretStr(credentials.s3.secret_key),
        sensor_token=SecretStr(credentials.sensor_token),
    )
    write_object_store_files(layout, credentials, ratchet_bucket=settings.ratchet_bucket)
    write_webhook(layout, sensor_endpoint=hints_to, token=credentials.sensor_token, bucket=settings.labels_bucket)
    service = object_store_service(layout, ports=ports, socket_dir=make_socket_dir(layout))
    try:
        with _process(service.command, folder / "s3.log", env=service.env, cwd=service.cwd):
            wait_until(lambda: urllib.request.urlopen(service.ready.url, timeout=2).close() is None, "S3 is ready")
            make_buckets(settings, (settings.labels_bucket, settings.ratchet_bucket, settings.dvc_bucket))
            yield settings
    finally:
        remove_socket_dir(layout)


@contextmanager
def _process(command: Any, log: Path, *, env: dict[str, str], cwd: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            tethered(command), env=child_env(env), cwd=cwd, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        stop_group(process.pid, grace_s=15)


def _write_configs(folder: Path, tasks: tuple[str, ...]) -> Path:
    """Digits, under other names."""
    project = PROJECT_DIR / "configs"
    spec = yaml.safe_load((project / "tasks" / "digits.yaml").read_text())
    for path in (project / "policies").glob("*.yaml"):
        _made(folder / "policies").joinpath(path.name).write_bytes(path.read_bytes())
    (folder / "policies" / "trigger.yaml").write_text(f"threshold: {THRESHOLD}\n")
    for task in tasks:
        _made(folder / "tasks").joinpath(f"{task}.yaml").write_text(yaml.safe_dump({**spec, "name": task}))
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
