"""`ratchet run retrain` and `ratchet runs`, on fakes."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.runs import view as run_view
from cli.runs.logs import news_in
from cli.runs.retrain import start_retrain
from cli.runs.view import depth_of, duration_s_of, short_error, tree_order
from ratchet.actions.runs.retraining import RetrainPorts, look_at_task
from ratchet.adapters.clock import SystemClock
from ratchet.core.errors import Conflict, DataRejected, NotFound, PolicyError, Unavailable
from ratchet.core.models.task_checks import CheckResult, TaskReport
from ratchet.core.ports import RunArtifact, RunTask
from ratchet.core.runs.outcome import Ended
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.run_outcomes import RunOutcomes
from ratchet.stores.signals import Signals
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines
from tests.stores import label_stores
from tests.wired import wire

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class FakeTaskChecks:
    problem = ""

    def check(self, specs):
        failed = CheckResult(task="digits", check="loss", state="failed", text=self.problem)
        return [TaskReport(task="digits", implementation="m:C", results=(failed,) if self.problem else ())]


def test_a_task_that_cannot_train_starts_nothing_unless_a_person_insists(ports, monkeypatch):
    monkeypatch.setattr(FakeTaskChecks, "problem", "NameError: name 'foo' is not defined (/w/t.py, line 3, in loss)")
    refused = invoke("run", "retrain", "--task", "digits", "--again")
    assert isinstance(refused.exception, PolicyError)
    assert "/w/t.py, line 3" in str(refused.exception) and "--no-check" in str(refused.exception)
    assert ports.pipelines.list_runs() == []
    assert invoke("run", "retrain", "--task", "digits", "--again", "--no-check").exit_code == 0


@pytest.fixture
def ports(monkeypatch) -> RetrainPorts:
    objects = FakeObjectStore()
    made = RetrainPorts(
        stores=label_stores(FakeLabelStore(), FakeDatasetStore(), objects),
        signals=Signals(objects, "ratchet"),
        pipelines=FakePipelines(),
        journal=RunJournal(objects, "ratchet"),
        clock=SystemClock(),
    )
    wire(
        monkeypatch,
        retrain_ports=lambda: made,
        pipelines=lambda: made.pipelines,
        run_journal=lambda: made.journal,
        policy_digest=lambda task: "p",
        task_checks=FakeTaskChecks,
        run_outcomes=lambda: RunOutcomes(objects, "ratchet"),
    )
    return made


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_a_run_starts_below_the_threshold_when_a_person_asks(ports):
    ports.stores.labels.put_shard("digits", b"x", num_labels=1)
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


@pytest.mark.parametrize("begins", ["before", "meanwhile"])
def test_waiting_tells_of_the_run_that_ended_while_the_task_was_checked(ports, monkeypatch, begins):
    """A check of the task takes seconds, in which the sensor's run may end, or begin and end."""
    ports.stores.labels.put_shard("digits", b"x", num_labels=1)
    runs = [start_retrain("digits", again=False)] if begins == "before" else []
    check = FakeTaskChecks.check

    def slow_check(self, specs):
        if not runs:
            runs.append(start_retrain("digits", again=False))
        ports.pipelines.finish(runs[0]["run_id"])
        return check(self, specs)

    monkeypatch.setattr(FakeTaskChecks, "check", slow_check)
    told = json.loads(invoke("run", "retrain", "--task", "digits", "--wait", "--json").stdout)
    assert told["run_id"] == runs[0]["run_id"]
    assert isinstance(invoke("run", "retrain", "--task", "digits", "--wait").exception, Conflict), "ended long ago"


@pytest.mark.parametrize("leaves_labels", [False, True])
def test_waiting_follows_the_run_in_flight_and_then_takes_what_it_left(ports, monkeypatch, leaves_labels):
    """The sensor starts a run between a push and `retrain --wait`: the caller waits for that run, not for an error."""
    key = ports.stores.labels.put_shard("digits", b"x", num_labels=1)
    first = json.loads(invoke("run", "retrain", "--task", "digits", "--json").stdout)

    def end_at_once(pipelines, run_id, *, timeout_s):
        """`ingest` of the first run took its labels; others may have landed since."""
        if run_id == first["run_id"] and not pipelines.fetch_run(run_id).is_finished:
            ports.stores.labels.delete(key)
            if leaves_labels:
                ports.stores.labels.put_shard("digits", b"yz", num_labels=2)
        pipelines.finish(run_id)
        return pipelines.fetch_run(run_id)

    monkeypatch.setattr(run_view, "watch", end_at_once)
    answer = invoke("run", "retrain", "--task", "digits", "--wait", "--json")
    ended = json.loads(answer.stdout)
    assert f"{first['name']} is in flight: following it first" in answer.stderr
    assert (ended["run_id"] == first["run_id"]) is not leaves_labels
    assert len(ports.pipelines.list_runs()) == 1 + leaves_labels


def test_two_commands_at_once_start_one_run(ports):
    """A double click: both have looked, and neither has claimed yet."""
    list_unfinished, both_looked = ports.pipelines.list_unfinished, threading.Barrier(2)

    def look(experiment):
        found = list_unfinished(experiment)
        both_looked.wait(timeout=10)
        return found

    ports.pipelines.list_unfinished = look

    def command() -> str:
        try:
            start_retrain("digits", again=True)
        except Conflict:
            return "conflict"
        return "started"

    with ThreadPoolExecutor(2) as pool:
        told = sorted(pool.map(lambda _: command(), range(2)))
    assert told == ["conflict", "started"]
    assert len(ports.pipelines.list_runs()) == 1


def test_asking_again_after_a_lost_answer_starts_no_second_run(ports):
    submit = ports.pipelines.submit

    def lose_answer(*args, **kwargs):
        ports.pipelines.submit = submit
        submit(*args, **kwargs)
        raise Unavailable("timed out")

    ports.pipelines.submit = lose_answer
    assert isinstance(invoke("run", "retrain", "--task", "digits", "--again").exception, Unavailable)
    refused = invoke("run", "retrain", "--task", "digits", "--again")
    assert isinstance(refused.exception, Conflict)
    assert len(ports.pipelines.list_runs()) == 1


@pytest.mark.parametrize(("state", "exit_code"), [("SUCCEEDED", 0), ("SKIPPED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_waiting_ends_with_the_run(ports, state, exit_code):
    submit = ports.pipelines.submit

    def submit_and_end(*args, **kwargs):
        run_id = submit(*args, **kwargs)
        ports.pipelines.finish(run_id, state)
        return run_id

    ports.pipelines.submit = submit_and_end
    assert invoke("run", "retrain", "--task", "digits", "--again", "--wait").exit_code == exit_code


def test_a_green_run_that_promoted_nothing_says_why_and_has_an_exit_code_of_its_own(ports):
    submit = ports.pipelines.submit
    reason = Reason(check="gain", value=-0.01, limit=0.0, passed=False, text="90.0 % against 91.0 %; +0.0 % is asked")

    def submit_and_refuse(*args, **kwargs):
        run_id = submit(*args, **kwargs)
        outcomes = RunOutcomes(ports.signals.objects, "ratchet")
        outcomes.put_verdict(run_id, Verdict(kind="evaluate", verdict="refused", reasons=(reason,)))
        outcomes.put_outcome(
            Ended(task="digits", run_key="k", run_id=run_id, state="SUCCEEDED", error="", closed="", at=NOON)
        )
        ports.pipelines.finish(run_id)
        return run_id

    ports.pipelines.submit = submit_and_refuse
    told = invoke("run", "retrain", "--task", "digits", "--again", "--wait")
    assert told.exit_code == 9
    assert "refused model by evaluate" in told.stdout
    assert "90.0 % against 91.0 %" in told.stdout
    assert "next: " in told.stdout
    run_id = ports.pipelines.list_runs()[0].run_id
    for listed in (invoke("runs", "list"), invoke("runs", "show", run_id)):
        assert "refused model" in listed.stdout
    newest = look_at_task(ports, task="digits").last
    assert newest is not None and newest.end is not None
    assert (newest.end.outcome, newest.end.summary) == ("refused_model", reason.text)


def test_runs_are_found_by_name_and_by_id(ports):
    started = json.loads(invoke("run", "retrain", "--task", "digits", "--again", "--json").stdout)
    for known_as in (started["name"], started["run_id"]):
        assert json.loads(invoke("runs", "show", known_as, "--json").stdout)["run_id"] == started["run_id"]
    assert invoke("runs", "terminate", started["name"]).exit_code == 0
    assert json.loads(invoke("runs", "list", "--json").stdout)[0]["state"] == "CANCELED"
    assert isinstance(invoke("runs", "terminate", started["name"]).exception, Conflict)
    assert isinstance(invoke("runs", "show", "nobody").exception, NotFound)


def start(ports) -> str:
    return json.loads(invoke("run", "retrain", "--task", "digits", "--again", "--json").stdout)["run_id"]


def test_a_run_is_found_by_the_beginning_of_its_id_when_only_one_has_it(ports):
    ports.pipelines.submit("retrain", run_name="one", experiment="a", parameters={})
    ports.pipelines.submit("retrain", run_name="two", experiment="a", parameters={})
    one, two = (run.run_id for run in reversed(ports.pipelines.list_runs()))
    assert json.loads(invoke("runs", "show", one, "--json").stdout)["run_id"] == one
    refused = invoke("runs", "show", "run-")
    assert isinstance(refused.exception, DataRejected)
    assert one in str(refused.exception) and two in str(refused.exception)
    ports.pipelines.forget(two)
    assert json.loads(invoke("runs", "show", "run-", "--json").stdout)["run_id"] == one
    assert isinstance(invoke("runs", "show", "run").exception, NotFound), "three characters are no prefix"


def test_only_a_run_that_failed_is_retried(ports):
    run_id = start(ports)
    assert isinstance(invoke("runs", "retry", run_id).exception, Conflict)
    ports.pipelines.finish(run_id, "FAILED", "boom")
    answer = invoke("runs", "retry", run_id, "--json")
    assert (json.loads(answer.stdout)["state"], answer.exit_code) == ("RUNNING", 0)
    ports.pipelines.finish(run_id)
    assert isinstance(invoke("runs", "retry", run_id).exception, Conflict)


def end_of_last(ports) -> str:
    last = look_at_task(ports, task="digits").last
    return last.end.state if last and last.end else ""


def test_a_retry_that_succeeds_is_not_the_failure_that_it_repaired(ports):
    """Its first end is in the journal: the sensor would train once more on labels that a model has seen by now."""
    run_id = start(ports)
    ports.pipelines.finish(run_id, "FAILED", "boom")
    assert end_of_last(ports) == "FAILED"
    assert invoke("runs", "retry", run_id).exit_code == 0
    assert end_of_last(ports) == "", "in flight again"
    ports.pipelines.finish(run_id)
    assert end_of_last(ports) == "SUCCEEDED"


def test_a_run_that_was_passed_by_a_newer_one_is_not_retried(ports):
    first = start(ports)
    ports.pipelines.finish(first, "FAILED", "boom")
    second = start(ports)
    refused = invoke("runs", "retry", first)
    assert isinstance(refused.exception, Conflict)
    assert "--again" in str(refused.exception)
    assert [run.run_id for run in ports.pipelines.list_unfinished("digits")] == [second]


def test_artifacts_are_listed_of_a_run_or_of_one_task(ports):
    run_id = start(ports)
    tasks = [task("train"), task("report")]
    ports.pipelines.fetch_tasks = lambda _: tasks
    made = [RunArtifact(task_id=name, output="out", name="out", uri=f"/data/{name}") for name in ("train", "report")]
    ports.pipelines.artifacts[run_id] = made
    assert [one["uri"] for one in json.loads(invoke("runs", "artifacts", run_id, "--json").stdout)] == [
        "/data/train",
        "/data/report",
    ]
    assert "/data/train" not in invoke("runs", "artifacts", run_id, "report").stdout
    assert isinstance(invoke("runs", "artifacts", run_id, "nobody").exception, NotFound)


def test_following_a_log_prints_each_line_once_and_ends_with_the_run(ports, monkeypatch):
    run_id = start(ports)
    texts = iter(["one\ntw", "one\ntwo\n", "one\ntwo\nthree", "one\ntwo\nthree"])
    ports.pipelines.fetch_tasks = lambda _: [task("train"), task("group")]

    def fetch_log(_, each):
        if each.name == "group":
            raise NotFound("a group has no log")
        text = next(texts)
        if text.endswith("three"):
            ports.pipelines.finish(run_id)
        return text

    ports.pipelines.fetch_log = fetch_log
    monkeypatch.setattr("cli.runs.logs.POLL_S", 0)
    assert invoke("runs", "logs", "-f", run_id).stdout.splitlines() == ["train | one", "train | two", "train | three"]


@pytest.mark.parametrize(
    ("seen", "text", "expected"),
    [
        pytest.param("", "a\n", "a\n", id="first"),
        pytest.param("a\n", "a\nb\n", "b\n", id="more"),
        pytest.param("a\nb\nlast\n" * 99, "a\n[cut]\n" + "a\nb\nlast\n" * 80 + "new\n", "new\n", id="cut-in-between"),
        pytest.param("a\n", "other\n", "other\n", id="another-log"),
    ],
)
def test_what_of_a_log_is_new(seen, text, expected):
    assert news_in(text, seen=seen) == expected


@pytest.mark.parametrize("command", ["list", "show", "logs", "artifacts", "watch", "terminate", "retry"])
def test_the_help_of_each_command_has_an_example(command):
    shown = invoke("runs", command, "--help")
    assert "ratchet runs " + command in shown.stdout and "--json" in shown.stdout


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
    assert short_error("ValueError: boom (my_task.py, line 3)\nmore") == "ValueError: boom (my_task.py, line 3)"
    assert short_error("") == ""
