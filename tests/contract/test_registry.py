"""What every registry promises; the real one is an MLflow server on a free port."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.processes import free_port, stop_group
from ratchet.adapters.mlflow import MlflowRegistry
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.ports import Registry
from ratchet.settings import child_env
from tests.fakes.registry import FakeRegistry

READY_S_MAX = 90
TAGS = {"dataset_version": "digits/v1", "run_id": "run-1"}
METRICS = {"accuracy": 0.97, "loss": 0.1}


@pytest.fixture(scope="module")
def mlflow_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    env = child_env(
        {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": str(folder / "artifacts"),
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "mlflow.server.fastapi_app:app"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        wait_healthy(f"http://127.0.0.1:{port}", log_path=folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        stop_group(server.pid, grace_s=5)


def wait_healthy(endpoint: str, *, log_path: Path) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while True:
        try:
            with urllib.request.urlopen(f"{endpoint}/health", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, log_path.read_text()[-2000:]
            time.sleep(0.2)


@pytest.fixture(params=["fake", pytest.param("mlflow", marks=pytest.mark.stack)])
def registry(request: pytest.FixtureRequest) -> Registry:
    if request.param == "fake":
        return FakeRegistry()
    return MlflowRegistry(request.getfixturevalue("mlflow_endpoint"))


@pytest.fixture
def task(request: pytest.FixtureRequest) -> str:
    """A registered model of one's own: the server is shared."""
    return f"task-{abs(hash(request.node.name))}"


def test_versions_count_up_and_tell_what_they_are(registry: Registry, task: str) -> None:
    first = registry.register(task, "s3://models/t/a", tags=TAGS, metrics=METRICS)
    second = registry.register(task, "s3://models/t/b", tags={}, metrics={})
    versions = registry.list_versions(task)
    assert [found.version for found in versions] == [first, second] == ["1", "2"]
    assert versions[0].uri == "s3://models/t/a"
    assert versions[0].tags == TAGS
    assert versions[0].metrics == METRICS


def test_the_same_uri_twice_is_one_version(registry: Registry, task: str) -> None:
    first = registry.register(task, "s3://models/t/a", tags=TAGS, metrics=METRICS)
    assert registry.register(task, "s3://models/t/a", tags=TAGS, metrics=METRICS) == first
    assert len(registry.list_versions(task)) == 1


def test_an_alias_moves(registry: Registry, task: str) -> None:
    for name in "ab":
        registry.register(task, f"s3://models/t/{name}", tags={}, metrics={})
    registry.set_alias(task, "champion", "1")
    registry.set_alias(task, "champion", "2")
    registry.set_alias(task, "previous", "1")
    assert registry.fetch_aliases(task) == {"champion": "2", "previous": "1"}


def test_an_alias_goes_and_may_be_gone_already(registry: Registry, task: str) -> None:
    registry.register(task, "s3://models/t/a", tags={}, metrics={})
    registry.set_alias(task, "challenger", "1")
    registry.remove_alias(task, "challenger")
    registry.remove_alias(task, "challenger")
    assert registry.fetch_aliases(task) == {}


def test_nothing_registered_is_nothing(registry: Registry, task: str) -> None:
    assert registry.fetch_aliases(task) == {}
    assert list(registry.list_versions(task)) == []


def test_an_alias_of_no_version_is_not_found(registry: Registry, task: str) -> None:
    registry.register(task, "s3://models/t/a", tags={}, metrics={})
    with pytest.raises(NotFound):
        registry.set_alias(task, "champion", "9")


def test_a_server_that_is_down_is_unavailable_soon() -> None:
    registry = MlflowRegistry(f"http://127.0.0.1:{free_port()}", num_retries=1)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="ratchet status"):
        registry.fetch_aliases("digits")
    assert time.monotonic() - began < 15


def test_a_refused_challenger_is_shown_once_and_is_no_version(registry: Registry) -> None:
    for _ in range(2):
        registry.note_refused(
            "refusing", key="run-7", tags={"verdict": "refused", "reasons": "0.90 of 0.93"}, metrics=METRICS
        )
    assert list(registry.list_versions("refusing")) == []
    assert registry.fetch_aliases("refusing") == {}
