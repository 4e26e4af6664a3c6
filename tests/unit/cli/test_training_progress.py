"""`ratchet runs show | watch` while a model is trained."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.runs.training import TrainingWatch
from ratchet.core.errors import Unavailable
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.core.ports import RunTask
from ratchet.stores.run_outcomes import RunOutcomes
from ratchet.stores.run_progress import RunProgress
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines
from tests.unit.cli.conftest import Down
from tests.wired import wire

HALF = TrainingProgress(epoch=3, num_epochs=10, step=120, num_steps=400, loss=0.412, rows_per_s=12_300, left_s=118)
TRAINS = RunTask(task_id="t", name="finetune", state="RUNNING")
TRAINED = TRAINS.model_copy(update={"state": "SUCCEEDED"})
WORDS = "finetune epoch 3/10 · step 120/400 · loss 0.412 · 12,300 rows/s · about 2 min left"


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> FakePipelines:
    made, objects = FakePipelines(["retrain"]), FakeObjectStore()
    made.submit("retrain", run_name="a-run", experiment="digits", parameters={})
    wire(
        monkeypatch,
        pipelines=lambda: made,
        run_outcomes=lambda: RunOutcomes(objects, "ratchet"),
        run_progress=lambda run_id: RunProgress(objects, "ratchet", run_id),
    )
    RunProgress(objects, "ratchet", made.list_runs()[0].run_id).put(HALF)
    return made


def tasks_are(pipelines: FakePipelines, monkeypatch: pytest.MonkeyPatch, *states: RunTask) -> None:
    """One after the other; then the run is over."""
    left = list(states)

    def fetch(run_id: str) -> list[RunTask]:
        task = left.pop(0)
        if not left:
            pipelines.finish(run_id)
        return [task]

    monkeypatch.setattr(pipelines, "fetch_tasks", fetch)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_a_run_that_trains_shows_how_far_it_is(pipelines: FakePipelines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "fetch_tasks", lambda _: [TRAINS])
    assert WORDS in invoke("runs", "show", "a-run").stdout
    told = json.loads(invoke("runs", "show", "a-run", "--json").stdout)["training"]
    assert TrainingProgress.model_validate(told) == HALF


def test_a_run_whose_training_is_over_shows_none(pipelines: FakePipelines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "fetch_tasks", lambda _: [TRAINED])
    assert "epoch" not in invoke("runs", "show", "a-run").stdout
    assert json.loads(invoke("runs", "show", "a-run", "--json").stdout)["training"] is None


def test_a_store_that_is_away_costs_the_line(pipelines: FakePipelines, monkeypatch: pytest.MonkeyPatch) -> None:
    wire(monkeypatch, run_progress=lambda run_id: RunProgress(Down(), "ratchet", run_id))
    monkeypatch.setattr(pipelines, "fetch_tasks", lambda _: [TRAINS])
    shown = invoke("runs", "show", "a-run")
    assert shown.exit_code == 0 and "the progress of the training is unknown" in shown.stderr
    tasks_are(pipelines, monkeypatch, TRAINS, TRAINED)
    assert "finetune SUCCEEDED" in invoke("runs", "watch", "a-run").stderr


def test_watching_tells_of_the_training(pipelines: FakePipelines, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks_are(pipelines, monkeypatch, TRAINS, TRAINS, TRAINED)
    watched = invoke("runs", "watch", "a-run")
    assert watched.stderr.count(WORDS) == 1, "a log is told again when there is news"
    assert watched.stderr.index(WORDS) < watched.stderr.index("finetune SUCCEEDED")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_it_is_asked_for_every_two_seconds_and_after_a_minute_where_the_store_was_away() -> None:
    clock, asked = Clock(), list[float]()

    def fetch() -> TrainingProgress:
        asked.append(clock.now_s)
        if len(asked) == 2:
            raise Unavailable("the object store does not answer")
        return HALF

    watch = TrainingWatch(fetch, monotonic_s=clock)
    assert watch.look([]) is None, "nothing is trained, nothing is asked"
    found = {}
    for _ in range(140):
        found[clock.now_s] = watch.look([TRAINS])
        clock.now_s += 0.5
    assert asked == [0.0, 2.0, 62.0, 64.0, 66.0, 68.0]
    assert (found[1.5], found[2.0], found[61.5], found[62.0]) == (HALF, None, None, HALF)
    assert watch.look([TRAINED]) is None
