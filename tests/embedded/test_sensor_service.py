"""The sensor as a service of the stack: hints from the real object store, a log that outlives it, a calm end."""

import http.server
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.control_plane.host.processes import free_port, stop_group, tethered
from embedded.object_store import NAME as OBJECT_STORE
from embedded.planning import CONTROL_PLANE, SENSOR
from embedded.reports import read_report
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from pipelines.publish import publish
from ratchet.adapters.kfp import KfpPipelines
from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.adapters.sensor_service import SensorService
from ratchet.core.errors import SettingsError, Unavailable
from ratchet.settings import Settings, child_env
from ratchet.stores.run_journal import RunJournal
from tests.conftest import PROJECT_DIR, settings_in
from tests.kfp_server import compile_tiny

WITHIN_S = 40.0
TASKS = ("hinted", "healed", "slow")
pytestmark = pytest.mark.stack


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            if answer := condition():
                return answer
        except Unavailable:
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def write_configs(folder: Path) -> Path:
    """Digits, under other names; two labels are worth a run."""
    spec = yaml.safe_load((PROJECT_DIR / "configs" / "tasks" / "digits.yaml").read_text())
    for kind in ("tasks", "policies"):
        (folder / kind).mkdir(parents=True)
        for path in (PROJECT_DIR / "configs" / kind).glob("*.yaml"):
            if kind == "policies":
                (folder / kind / path.name).write_bytes(path.read_bytes())
    (folder / "policies" / "trigger.yaml").write_text("threshold: 2\n")
    for task in TASKS:
        (folder / "tasks" / f"{task}.yaml").write_text(yaml.safe_dump({**spec, "name": task}))
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack without what trains and serves, whose sensor looks by itself only once an hour."""
    folder = tmp_path_factory.mktemp("sensor")
    base = Settings(state_dir=folder / "state", configs_dir=write_configs(folder / "configs"), sensor_interval_s=3600.0)
    start_stack(base, project_dir=PROJECT_DIR, services=(OBJECT_STORE, CONTROL_PLANE, SENSOR), is_detached=False)
    made = settings_in(base.state_dir)
    publish(KfpPipelineCatalog.of(made), compile_tiny(folder / "retrain.yaml"))
    yield made
    stop_stack(layout_of(base))


@pytest.fixture(scope="module")
def labels(settings: Settings) -> S3LabelStore:
    return S3LabelStore(S3ObjectStore.of(settings), bucket=settings.labels_bucket)


def push(labels: S3LabelStore, task: str, num_labels: int) -> None:
    """No two shards are equal: those would count once."""
    labels.put_shard(task, secrets.token_hex(32).encode() * num_labels, num_labels=num_labels)


def status_of(sensor: SensorService, task: str) -> dict[str, Any]:
    return next((row for row in sensor.fetch_status() if row["task"] == task), {})


def ratchet(settings: Settings, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("ratchet")), "sensor", *words]
    return subprocess.run(
        command, env=child_env(settings.as_env()), cwd=PROJECT_DIR, capture_output=True, text=True, timeout=60
    )


def pid_of_sensor(settings: Settings) -> int:
    report = read_report(layout_of(settings))
    pid = next(service.pid for service in report.services if service.name == SENSOR) if report else None
    assert pid
    return pid


def test_what_lands_in_the_label_bucket_starts_a_run_at_once(settings, labels):
    sensor, pipelines = SensorService.of(settings), KfpPipelines.of(settings)
    wait_until(lambda: status_of(sensor, "hinted"), "the first look")
    push(labels, "hinted", 1)
    wait_until(lambda: status_of(sensor, "hinted")["num_pending"] == 1, "it saw the label")
    push(labels, "hinted", 1)
    (run,) = wait_until(lambda: pipelines.list_runs(experiment="hinted"), "a run")
    told = wait_until(lambda: status_of(sensor, "hinted").get("is_running") and status_of(sensor, "hinted"), "seen")
    assert told["last_started_at"]
    metrics = urllib.request.urlopen(f"{settings.sensor_endpoint}/metrics", timeout=5).read().decode()
    assert 'ratchet_sensor_ticks_total{code="threshold",outcome="trigger",task="hinted"} 1.0' in metrics
    assert 'ratchet_sensor_lag_seconds_count{task="hinted"} 1.0' in metrics
    assert "ratchet_sensor_events_ignored_total" in metrics, "folders of the filer"
    pipelines.terminate(run.run_id)


def test_strangers_cannot_make_it_look(settings):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{settings.sensor_endpoint}/events", data=b"{}"), timeout=5)
    asked = refused.value.headers["WWW-Authenticate"]
    assert (refused.value.code, asked) == (401, 'Bearer realm="ratchet-sensor", Basic realm="ratchet-sensor"')
    with pytest.raises(SettingsError, match="RATCHET_SENSOR_TOKEN"):
        SensorService(settings.sensor_endpoint).tick("hinted", timeout_s=5)
    assert SensorService.of(settings).tick("hinted", timeout_s=WITHIN_S)["task"] == "hinted"


def test_labels_land_while_the_sensor_hangs_and_after_a_kill_the_listing_finds_them(settings, labels):
    sensor, pipelines = SensorService.of(settings), KfpPipelines.of(settings)
    pid = pid_of_sensor(settings)
    signal_to(pid, signal.SIGSTOP)
    for _ in range(20):
        push(labels, "healed", 1)
    log = ratchet(
        settings.model_copy(update={"sensor_endpoint": f"http://127.0.0.1:{free_port()}"}),
        "ticks",
        "--task",
        "hinted",
        "--json",
    )
    assert "trigger" in [row["outcome"] for row in json.loads(log.stdout)], "the log is in S3"
    signal_to(pid, signal.SIGKILL)
    (run,) = wait_until(lambda: pipelines.list_runs(experiment="healed"), "the listing healed the lost hints")
    assert wait_until(lambda: status_of(sensor, "healed"), "it is back")["num_pending"] == 20
    pipelines.terminate(run.run_id)


def signal_to(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


def test_its_log_is_one_object_a_line(settings):
    text = layout_of(settings).log_of(SENSOR).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"at", "level", "logger", "message"} <= set.intersection(*(set(line) for line in lines))
    started = [line for line in lines if line.get("outcome") == "trigger"]
    assert {"task", "code", "run_name", "run_id", "submit_s"} <= started[0].keys()
    assert settings.sensor_token.get_secret_value() not in text
    assert settings.s3_secret_key.get_secret_value() not in text


def test_what_people_see(settings):
    seen = json.loads(ratchet(settings, "status", "--json").stdout)
    assert {row["task"] for row in seen} == set(TASKS)
    assert next(row for row in seen if row["task"] == "hinted")["last_run"]["state"] in ("RUNNING", "CANCELED")
    told = ratchet(settings, "status", "--task", "healed")
    assert "of 2 labels" in told.stdout, told.stderr
    explained = json.loads(ratchet(settings, "explain", "--task", "slow", "--json").stdout)
    assert explained["outcome"]["code"] == "short"
    assert [check["passed"] for check in explained["checks"] if check["code"] == "busy"] == [True]


@contextmanager
def slow_kfp(endpoint: str, *, hold: threading.Event, entered: threading.Event) -> Iterator[str]:
    """A proxy that holds the creation of a run until it may go on."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.command == "POST" and self.path.startswith("/apis/v2beta1/runs"):
                entered.set()
                hold.wait(WITHIN_S)
            request = urllib.request.Request(f"{endpoint}{self.path}", data=body or None, method=self.command)
            request.add_header("content-type", self.headers.get("content-type", "application/json"))
            request.add_header("authorization", self.headers.get("authorization", ""))
            try:
                answer = urllib.request.urlopen(request, timeout=20)
            except urllib.error.HTTPError as error:
                answer = error
            data = answer.read()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers.get("content-type", "application/json"))
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _forward

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        hold.set()
        server.shutdown()
        server.server_close()


def test_a_sensor_that_is_stopped_while_it_submits_finishes_that_run(settings, labels, tmp_path):
    hold, entered = threading.Event(), threading.Event()
    push(labels, "hinted", 1)
    folder = write_configs(tmp_path / "configs")
    (folder / "tasks" / "hinted.yaml").unlink()
    (folder / "tasks" / "healed.yaml").unlink()
    with slow_kfp(settings.kfp_endpoint, hold=hold, entered=entered) as kfp_endpoint:
        own = settings.model_copy(update={"kfp_endpoint": kfp_endpoint, "configs_dir": folder})
        with signal_stopped(pid_of_sensor(settings)):
            push(labels, "slow", 2)
            process = start_sensor(own, log=tmp_path / "sensor.log")
            try:
                assert entered.wait(WITHIN_S), (tmp_path / "sensor.log").read_text()
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                hold.set()
                assert process.wait(timeout=20) in (0, -signal.SIGTERM), (tmp_path / "sensor.log").read_text()
            finally:
                stop_group(process.pid, grace_s=5)
            (run,) = KfpPipelines.of(settings).list_runs(experiment="slow")
            newest = RunJournal(S3ObjectStore.of(settings), settings.ratchet_bucket).fetch_newest("slow")
            assert newest is not None
            assert newest.run_id == run.run_id, "recorded before it went"
    rows = json.loads(ratchet(settings, "ticks", "--task", "slow", "--json").stdout)
    assert "trigger" in [row["outcome"] for row in rows], "and told"
    KfpPipelines.of(settings).terminate(run.run_id)


@contextmanager
def signal_stopped(pid: int) -> Iterator[None]:
    """The stack's own sensor sees nothing meanwhile."""
    signal_to(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_to(pid, signal.SIGCONT)


def start_sensor(settings: Settings, *, log: Path, host: str = "127.0.0.1") -> "subprocess.Popen[bytes]":
    words = ["-m", "sensors.label_sensor", "--port", str(free_port()), "--host", host]
    with log.open("wb") as output:
        return subprocess.Popen(
            tethered([sys.executable, *words]),
            env=child_env(settings.as_env()),
            cwd=PROJECT_DIR,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def test_beyond_loopback_it_needs_a_token(settings, tmp_path):
    log = tmp_path / "sensor.log"
    process = start_sensor(settings.model_copy(update={"sensor_token": ""}), log=log, host="0.0.0.0")
    assert process.wait(timeout=WITHIN_S) == 1
    assert "RATCHET_SENSOR_TOKEN is not set" in log.read_text()
