"""What Pipelines and PipelineCatalog promise: the same for the fake and for kfp.Client against a real server."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from embedded.control_plane.host.processes import free_port
from pipelines.publish import publish, publish_all
from ratchet.adapters.kfp import KfpPipelines
from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.adapters.kfp_client import KfpApi
from ratchet.core.errors import DataRejected, NotFound, SettingsError, Unavailable
from ratchet.core.ports import RunState
from ratchet.settings import Settings
from tests.fakes.pipelines import FakePipelines
from tests.kfp_server import compile_tiny, kfp_server

ENDS_WITHIN_S = 30.0


@dataclass
class Kfp:
    """One implementation, and how a run of it comes to its end."""

    runs: Any
    catalog: Any
    end: Callable[[str, bool], None]

    def submit(self, name: str, *, experiment: str = "digits", seconds: float = 60, is_bad: bool = False) -> str:
        parameters = {"task": experiment, "run_key": "k", "seconds": seconds, "is_bad": is_bad}
        return self.runs.submit("retrain", run_name=name, experiment=experiment, parameters=parameters)

    def run_to_end(self, *, is_bad: bool = False) -> RunState:
        run_id = self.submit(f"run-{uuid4()}", seconds=0, is_bad=is_bad)
        self.end(run_id, is_bad)
        return self.wait(run_id)

    def wait(self, run_id: str) -> RunState:
        deadline = time.monotonic() + ENDS_WITHIN_S
        while not (run := self.runs.fetch_run(run_id)).is_finished:
            assert time.monotonic() < deadline, run
            time.sleep(0.1)
        return run


@pytest.fixture(scope="module")
def real_kfp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kfp]:
    folder = tmp_path_factory.mktemp("kfp")
    with kfp_server(folder) as settings:
        api = KfpApi.of(settings)
        catalog = KfpPipelineCatalog(api)
        publish(catalog, compile_tiny(folder / "retrain.yaml"))
        yield Kfp(runs=KfpPipelines(api), catalog=catalog, end=lambda run_id, is_bad: None)


@pytest.fixture(params=["fake", "real"])
def kfp(request: pytest.FixtureRequest) -> Kfp:
    if request.param == "real":
        return request.getfixturevalue("real_kfp")
    fake = FakePipelines()
    return Kfp(fake, fake, lambda run_id, is_bad: fake.finish(run_id, *(("FAILED", "asked") if is_bad else ())))


def test_a_run_is_found_by_its_name(kfp: Kfp) -> None:
    name = f"retrain-digits-{uuid4()}"
    assert kfp.runs.find_runs(name) == []
    run_id = kfp.submit(name)
    found = kfp.runs.find_runs(name)
    kfp.runs.terminate(run_id)
    assert [(run.run_id, run.name, run.is_finished) for run in found] == [(run_id, name, False)]


def test_names_are_not_unique_and_the_oldest_comes_first(kfp: Kfp) -> None:
    name = f"twice-{uuid4()}"
    run_ids = [kfp.submit(name), kfp.submit(name)]
    found = [run.run_id for run in kfp.runs.find_runs(name)]
    for run_id in run_ids:
        kfp.runs.terminate(run_id)
    assert found == run_ids


def test_unfinished_runs_are_those_of_one_experiment(kfp: Kfp) -> None:
    here, there = f"here-{uuid4()}", f"there-{uuid4()}"
    assert kfp.runs.list_unfinished(here) == []
    run_id, other = kfp.submit("a", experiment=here), kfp.submit("b", experiment=there)
    assert [run.run_id for run in kfp.runs.list_unfinished(here)] == [run_id]
    for each in (run_id, other):
        kfp.runs.terminate(each)
        kfp.wait(each)
    assert kfp.runs.list_unfinished(here) == []


@pytest.mark.parametrize(("is_bad", "state"), [(False, "SUCCEEDED"), (True, "FAILED")])
def test_how_a_run_ended(kfp: Kfp, is_bad: bool, state: str) -> None:
    run = kfp.run_to_end(is_bad=is_bad)
    assert run.state == state
    assert bool(run.error) == is_bad
    assert run.created_at is not None
    assert run.finished_at is not None
    assert run.finished_at >= run.created_at


def test_a_terminated_run_is_canceled_and_not_failed(kfp: Kfp) -> None:
    run_id = kfp.submit("to-be-terminated")
    kfp.runs.terminate(run_id)
    assert kfp.wait(run_id).state == "CANCELED"
    kfp.runs.terminate(run_id)
    assert kfp.runs.fetch_run(run_id).state == "CANCELED", "twice is harmless"


def test_runs_are_listed_newest_first(kfp: Kfp) -> None:
    experiment = f"listed-{uuid4()}"
    run_ids = [kfp.submit(f"run-{number}", experiment=experiment) for number in range(3)]
    newest = [run.run_id for run in kfp.runs.list_runs(experiment=experiment, limit=2)]
    for run_id in run_ids:
        kfp.runs.terminate(run_id)
    assert newest == [run_ids[2], run_ids[1]]
    assert kfp.runs.list_runs(experiment="nobody-s") == []


def test_what_is_not_there_is_not_found(kfp: Kfp) -> None:
    with pytest.raises(NotFound, match="no-such-run"):
        kfp.runs.fetch_run("no-such-run")
    with pytest.raises(NotFound, match="ratchet pipelines publish"):
        kfp.runs.submit("no-such-pipeline", run_name="x", experiment="digits", parameters={})
    assert kfp.catalog.list_versions("no-such-pipeline") == []


def test_publishing_twice_uploads_once(kfp: Kfp, tmp_path: Path) -> None:
    name = f"p{uuid4().hex[:8]}"
    path = compile_tiny(tmp_path / f"{name}.yaml", name=name)
    assert [published.is_new for published in publish_all(kfp.catalog, tmp_path)] == [True]
    assert [published.is_new for published in publish_all(kfp.catalog, tmp_path)] == [False]
    path.write_text(path.read_text().replace("asked to fail", "failed as asked"))
    changed = publish_all(kfp.catalog, tmp_path)[0]
    assert changed.is_new
    assert publish_all(kfp.catalog, tmp_path)[0] == changed.model_copy(update={"is_new": False})
    assert len(kfp.catalog.list_versions(name)) == 2
    assert name in {version.pipeline for version in kfp.catalog.list_pipelines()}


def test_going_back_to_an_older_version_publishes_it_anew(kfp: Kfp, tmp_path: Path) -> None:
    name = f"p{uuid4().hex[:8]}"
    path = compile_tiny(tmp_path / f"{name}.yaml", name=name)
    first = path.read_text()
    for text in (first, first.replace("asked to fail", "b"), first.replace("asked to fail", "c")):
        path.write_text(text)
        publish(kfp.catalog, path)
    path.write_text(first.replace("asked to fail", "b"))
    again = publish(kfp.catalog, path)
    assert again.is_new
    assert again.version.endswith("-2")
    assert kfp.catalog.list_versions(name)[0].version_id == again.version_id


def test_schedules(kfp: Kfp) -> None:
    made = kfp.catalog.create_schedule("retrain", name="nightly", cron="0 0 3 * * *", parameters={"task": "digits"})
    listed = {schedule.schedule_id: schedule for schedule in kfp.catalog.list_schedules()}
    assert (listed[made.schedule_id].cron, listed[made.schedule_id].is_enabled) == ("0 0 3 * * *", True)
    kfp.catalog.delete_schedule(made.schedule_id)
    assert made.schedule_id not in {schedule.schedule_id for schedule in kfp.catalog.list_schedules()}
    with pytest.raises(NotFound):
        kfp.catalog.delete_schedule(made.schedule_id)


def test_a_schedule_is_made_disabled_with_a_description_and_enabled_later(kfp: Kfp) -> None:
    cron = "TZ=Europe/Berlin 0 0 3 * * *"
    made = kfp.catalog.create_schedule(
        "retrain", name="later", cron=cron, parameters={"task": "digits"}, description="why", is_enabled=False
    )
    assert (made.is_enabled, made.description, made.cron) == (False, "why", cron)
    kfp.catalog.enable_schedule(made.schedule_id)
    (listed,) = [each for each in kfp.catalog.list_schedules() if each.name == "later"]
    assert listed == made.model_copy(update={"is_enabled": True}) and listed.created_at is not None
    kfp.catalog.delete_schedule(made.schedule_id)
    with pytest.raises(NotFound):
        kfp.catalog.enable_schedule(made.schedule_id)
    with pytest.raises(NotFound):
        kfp.catalog.create_schedule("nowhere", name="x", cron=cron, parameters={})


def test_tasks_and_their_logs(real_kfp: Kfp) -> None:
    run = real_kfp.run_to_end(is_bad=True)
    tasks = {task.name: task for task in real_kfp.runs.fetch_tasks(run.run_id)}
    assert tasks["wait"].state == "FAILED"
    assert "asked to fail" in real_kfp.runs.fetch_log(run.run_id, tasks["wait"])
    with pytest.raises(NotFound):
        real_kfp.runs.fetch_log(run.run_id, tasks["wait"].model_copy(update={"task_id": "nobody"}))


def test_a_parameter_that_the_pipeline_lacks_is_refused(real_kfp: Kfp) -> None:
    with pytest.raises(DataRejected):
        real_kfp.runs.submit("retrain", run_name="x", experiment="digits", parameters={"task": "digits", "colour": 1})


def test_nothing_is_started_when_looking_up_took_too_long(real_kfp: Kfp) -> None:
    name = f"late-{uuid4()}"
    with pytest.raises(Unavailable, match="not started"):
        real_kfp.runs.submit("retrain", run_name=name, experiment="digits", parameters={}, start_within_s=0.0)
    assert real_kfp.runs.find_runs(name) == []


def test_a_server_that_is_down_is_unavailable_at_once() -> None:
    began_at = time.monotonic()
    with pytest.raises(Unavailable, match="ratchet up"):
        KfpPipelines.of(Settings(kfp_endpoint=f"http://127.0.0.1:{free_port()}"))
    assert time.monotonic() - began_at < 5


@pytest.mark.parametrize("endpoint", [pytest.param("", id="not-set"), pytest.param("localhost:1", id="no-scheme")])
def test_a_wrong_endpoint_is_a_settings_error(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="RATCHET_KFP_ENDPOINT"):
        KfpPipelines.of(Settings(kfp_endpoint=endpoint))
