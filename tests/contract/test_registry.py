"""What every registry promises; the real one is an MLflow server on a free port."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from embedded.control_plane.host.processes import free_port, stop_group
from ratchet.adapters.mlflow import MlflowRegistry
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.models.training_history import EpochMetrics, curve_points, thinned
from ratchet.core.ports import Registry
from ratchet.settings import child_env
from tests.fakes.registry import FakeRegistry

READY_S_MAX = 90
TAGS = {"dataset_version": "digits/v1", "run_id": "run-1"}
METRICS = {"accuracy": 0.97, "loss": 0.1}


class Vandal(Protocol):
    """What people, and `mlflow gc`, do to a registry."""

    def delete_version(self, task: str, version: str) -> None: ...
    def delete_runs(self, task: str) -> None: ...
    def delete_experiment(self, task: str) -> None: ...
    def delete_model(self, task: str) -> None: ...
    def purge(self, task: str) -> None: ...


class MlflowVandal:
    """Through MLflow's own client, and through the store's calls that `mlflow gc` makes (the command takes 30 s)."""

    def __init__(self, endpoint: str, database_uri: str, artifact_root: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=endpoint, registry_uri=endpoint)
        self._database_uri, self._artifact_root = database_uri, artifact_root

    def delete_version(self, task: str, version: str) -> None:
        self._client.delete_model_version(task, version)

    def delete_runs(self, task: str) -> None:
        for run in self._client.search_runs([self._experiment(task)]):
            self._client.delete_run(run.info.run_id)

    def delete_experiment(self, task: str) -> None:
        self._client.delete_experiment(self._experiment(task))

    def delete_model(self, task: str) -> None:
        self._client.delete_registered_model(task)

    def purge(self, task: str) -> None:
        from mlflow.entities import ViewType
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        store, experiment = SqlAlchemyStore(self._database_uri, self._artifact_root), self._experiment(task)
        for run in self._client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY):
            store._hard_delete_run(run.info.run_id)
        if self._client.get_experiment(experiment).lifecycle_stage == "deleted":
            store._hard_delete_experiment(experiment)

    def _experiment(self, task: str) -> str:
        experiment = self._client.get_experiment_by_name(task)
        assert experiment is not None
        return experiment.experiment_id


@pytest.fixture(scope="module")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def mlflow_endpoint(mlflow_folder: Path) -> Iterator[str]:
    folder, port = mlflow_folder, free_port()
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
def vandal(request: pytest.FixtureRequest, registry: Registry, mlflow_folder: Path) -> Vandal:
    if isinstance(registry, FakeRegistry):
        return registry
    endpoint = request.getfixturevalue("mlflow_endpoint")
    return MlflowVandal(endpoint, f"sqlite:///{mlflow_folder}/mlflow.db", str(mlflow_folder / "artifacts"))


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


# Whatever is deleted harms one row: no listing fails, and the next model is registered.

DELETIONS: dict[str, Sequence[Callable[[Vandal, str], None]]] = {
    "version": [lambda vandal, task: vandal.delete_version(task, "1")],
    "runs": [lambda vandal, task: vandal.delete_runs(task)],
    "runs-for-good": [lambda vandal, task: vandal.delete_runs(task), lambda vandal, task: vandal.purge(task)],
    "experiment": [lambda vandal, task: vandal.delete_experiment(task)],
    "experiment-for-good": [
        lambda vandal, task: vandal.delete_experiment(task),
        lambda vandal, task: vandal.purge(task),
    ],
    "model": [lambda vandal, task: vandal.delete_model(task)],
}


@pytest.mark.parametrize("deletion", DELETIONS)
def test_whatever_is_deleted_the_list_and_the_next_registration_hold(
    registry: Registry, vandal: Vandal, task: str, deletion: str
) -> None:
    for name in "ab":
        registry.register(task, f"s3://models/t/{name}", tags=TAGS, metrics=METRICS)
    registry.set_alias(task, "previous", "1")
    registry.set_alias(task, "champion", "2")
    for delete in DELETIONS[deletion]:
        delete(vandal, task)
    left = {"version": ["b"], "model": []}.get(deletion, ["a", "b"])
    versions = registry.list_versions(task)
    assert [found.uri[-1] for found in versions] == left
    assert all((found.tags, found.metrics) == (TAGS, METRICS) for found in versions), "metrics outlive their run"
    aliases = {"version": {"champion": "2"}, "model": {}}.get(deletion, {"previous": "1", "champion": "2"})
    assert registry.fetch_aliases(task) == aliases
    registry.remove_alias(task, "previous")
    for name in "ca":
        version = registry.register(task, f"s3://models/t/{name}", tags=TAGS, metrics=METRICS)
        registry.set_alias(task, "challenger", version)
        assert registry.fetch_aliases(task)["challenger"] == version
    assert {found.uri[-1] for found in registry.list_versions(task)} == {*left, "c", "a"}


def test_an_alias_of_a_deleted_version_or_model_is_not_found(registry: Registry, vandal: Vandal, task: str) -> None:
    registry.register(task, "s3://models/t/a", tags={}, metrics={})
    vandal.delete_version(task, "1")
    with pytest.raises(NotFound):
        registry.set_alias(task, "champion", "1")
    vandal.delete_model(task)
    with pytest.raises(NotFound):
        registry.set_alias(task, "champion", "1")


@pytest.mark.stack
@pytest.mark.parametrize(
    ("tags", "metrics"),
    [
        pytest.param({"why": "x" * 200_000}, METRICS, id="a-tag-is-too-long"),
        pytest.param(TAGS, {"accuracy?": 0.9}, id="a-metric-has-no-name-for-it"),
        pytest.param(TAGS, {"loss": float("nan")}, id="a-metric-is-no-number"),
    ],
)
def test_details_that_mlflow_refuses_cost_no_registration(
    mlflow_endpoint: str, task: str, tags: dict[str, str], metrics: dict[str, float]
) -> None:
    registry = MlflowRegistry(mlflow_endpoint)
    assert registry.register(task, "s3://models/t/a", tags=tags, metrics=metrics) == "1"
    assert [found.uri for found in registry.list_versions(task)] == ["s3://models/t/a"]


def test_a_version_is_tagged_and_keeps_its_other_tags(registry: Registry, task: str) -> None:
    registry.register(task, "s3://models/t/a", tags=TAGS, metrics=METRICS)
    for reason in ("errs", "errs more"):
        registry.tag_version(task, "1", {"ratchet.state": "rolled back", "ratchet.reason": reason})
    (found,) = registry.list_versions(task)
    assert found.tags == {**TAGS, "ratchet.state": "rolled back", "ratchet.reason": "errs more"}
    assert found.metrics == METRICS
    with pytest.raises(NotFound):
        registry.tag_version(task, "7", {"ratchet.state": "promoted"})


HISTORY = tuple(
    EpochMetrics(epoch=number, train_loss=1 / number, val_loss=2 / number, val_accuracy=None)
    for number in range(1, 1201)
)
CURVES = {(point.name, point.epoch, point.value) for point in curve_points(thinned(HISTORY, 1000))}


def curves_in(registry: Registry, run_id: str, request: pytest.FixtureRequest) -> list[tuple[str, int, float]]:
    """What the registry shows of a training, by its own means."""
    if isinstance(registry, FakeRegistry):
        return [(point.name, point.epoch, point.value) for point in registry.curves[run_id]]
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=request.getfixturevalue("mlflow_endpoint"))
    names = [name for name in client.get_run(run_id).data.metrics if name.startswith("training/")]
    return [
        (name.removeprefix("training/"), point.step, point.value)
        for name in names
        for point in client.get_metric_history(run_id, name)
    ]


def test_a_version_tells_where_the_curves_of_its_training_are(
    registry: Registry, task: str, request: pytest.FixtureRequest
) -> None:
    registry.register(task, "s3://models/t/a", tags=TAGS, metrics=METRICS, history=HISTORY)
    found = registry.list_versions(task)[0]
    assert found.metrics == METRICS, "curves are no metrics of the version"
    shown = curves_in(registry, found.tracked_in, request)
    assert len(shown) == len(CURVES) == 2000, "in batches of 1,000, a long training thinned"
    assert set(shown) == CURVES


def test_a_registration_that_died_and_is_repeated_shows_each_point_once(
    registry: Registry, vandal: Vandal, task: str, request: pytest.FixtureRequest
) -> None:
    """It died after the run and before the version; here the version is taken away again."""
    registry.register(task, "s3://models/t/a", tags=TAGS, metrics=METRICS, history=HISTORY)
    first = registry.list_versions(task)[0].tracked_in
    vandal.delete_version(task, "1")
    registry.register(task, "s3://models/t/a", tags=TAGS, metrics=METRICS, history=HISTORY)
    again = registry.list_versions(task)[0].tracked_in
    assert again == first
    assert sorted(curves_in(registry, again, request)) == sorted(CURVES)


@pytest.mark.stack
def test_curves_that_mlflow_refuses_cost_neither_version_nor_run(
    mlflow_endpoint: str, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry = MlflowRegistry(mlflow_endpoint)
    wrong = (HISTORY[0].model_copy(update={"epoch": 2**70}),)
    assert registry.register(task, "s3://models/t/a", tags=TAGS, metrics=METRICS, history=wrong) == "1"
    assert registry.list_versions(task)[0].tracked_in
    assert "MLflow shows no curves of the training" in caplog.text


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
