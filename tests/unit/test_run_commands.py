"""`ratchet run retrain` and `ratchet runs`, on fakes."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from ratchet import wiring
from ratchet.actions.retraining import RetrainPorts
from ratchet.actions.run_claims import RunJournal
from ratchet.cli import app
from ratchet.commands.run_view import depth_of, duration_s_of, short_error, tree_order
from ratchet.core.errors import Conflict, NotFound
from ratchet.core.ports import RunTask
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def ports(monkeypatch) -> RetrainPorts:
    objects = FakeObjectStore()
    made = RetrainPorts(
        labels=FakeLabelStore(),
        datasets=FakeDatasetStore(),
        objects=objects,
        pipelines=FakePipelines(),
        journal=RunJournal(objects, bucket="ratchet"),
        verdicts_bucket="ratchet",
    )
    monkeypatch.setattr(wiring, "retrain_ports", lambda: made)
    monkeypatch.setattr(wiring, "pipelines", lambda: made.pipelines)
    monkeypatch.setattr(wiring, "policy_digest", lambda task: "p")
    return made


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_a_run_starts_below_the_threshold_when_a_person_asks(ports):
    ports.labels.put_shard("digits", b"x", num_labels=1)
    answer = invoke("run", "retrain", "--task", "digits", "--json")
    assert answer.exit_code == 0, answer.output
    started = json.loads(answer.stdout)
    assert started["run_id"] == ports.pipelines.list_runs()[0].run_id
    assert started["name"].startswith("retrain-digits-")


def test_nothing_new_is_not_found_and_again_runs_anyway(ports):
    refused = invoke("run", "retrain", "--task", "digits")
    assert isinstance(refused.exception, NotFound)
    assert "--again" in str(refused.exception)
    assert invoke("run", "retrain", "--task", "digits", "--again").exit_code == 0


def test_a_second_run_at_once_is_a_conflict(ports):
    invoke("run", "retrain", "--task", "digits", "--again")
    refused = invoke("run", "retrain", "--task", "digits", "--again")
    assert isinstance(refused.exception, Conflict)
    assert "in flight" in str(refused.exception)


@pytest.mark.parametrize(("state", "exit_code"), [("SUCCEEDED", 0), ("SKIPPED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_waiting_ends_with_the_run(ports, state, exit_code):
    submit = ports.pipelines.submit

    def submit_and_end(*args, **kwargs):
        run_id = submit(*args, **kwargs)
        ports.pipelines.finish(run_id, state)
        return run_id

    ports.pipelines.submit = submit_and_end
    assert invoke("run", "retrain", "--task", "digits", "--again", "--wait").exit_code == exit_code


def test_runs_are_found_by_name_and_by_id(ports):
    started = json.loads(invoke("run", "retrain", "--task", "digits", "--again", "--json").stdout)
    for known_as in (started["name"], started["run_id"]):
        assert json.loads(invoke("runs", "show", known_as, "--json").stdout)["run_id"] == started["run_id"]
    assert invoke("runs", "terminate", started["name"]).exit_code == 0
    assert json.loads(invoke("runs", "list", "--json").stdout)[0]["state"] == "CANCELED"
    assert isinstance(invoke("runs", "terminate", started["name"]).exception, Conflict)
    assert isinstance(invoke("runs", "show", "nobody").exception, NotFound)


def task(name: str, parent: str = "", *, started_s: float | None = None, took_s: float | None = None) -> RunTask:
    started_at = None if started_s is None else NOON + timedelta(seconds=started_s)
    finished_at = started_at + timedelta(seconds=took_s) if started_at and took_s is not None else None
    return RunTask(
        task_id=name, name=name, state="RUNNING", parent_id=parent, started_at=started_at, finished_at=finished_at
    )


def test_tasks_stand_under_their_group_whatever_the_order():
    tasks = [task("train", "group"), task("group", "root"), task("notify"), task("loop", "loop")]
    ordered = tree_order(tasks)
    assert [each.name for each in ordered] == ["group", "train", "notify", "loop"]
    assert [depth_of(each, tasks) for each in ordered[:3]] == [0, 1, 0]


@pytest.mark.parametrize(
    ("item", "seconds"),
    [
        pytest.param(task("a"), None, id="not-started"),
        pytest.param(task("a", started_s=-5), 5.0, id="running"),
        pytest.param(task("a", started_s=-5, took_s=2), 2.0, id="ended"),
    ],
)
def test_how_long_a_task_took(item, seconds):
    assert duration_s_of(item, now=NOON) == seconds


def test_of_a_stack_trace_the_last_line_is_shown():
    assert short_error("Traceback\n  File x\nValueError: boom\n\n") == "ValueError: boom"
    assert short_error("") == ""
