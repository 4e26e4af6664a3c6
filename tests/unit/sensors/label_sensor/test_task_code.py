"""The sensor tries a task's code once for each state of it, and holds nothing back that it cannot try."""

import pytest

from ratchet.core.models.task_checks import CheckResult, TaskReport, reports_of
from ratchet.core.runs import CodeState, TriggerPolicy
from sensors.label_sensor import task_code
from sensors.label_sensor.policies import TaskPolicy
from sensors.label_sensor.task_code import TaskCodes
from sensors.label_sensor.tick import tick
from tests.unit.sensors.label_sensor.test_tick import World

BUG = "NameError: name 'foo' is not defined (/w/t.py, line 3, in loss)"


class Code:
    """Code on a disk, and how often it was tried."""

    def __init__(self, digest: str = "d1", problem: str = "") -> None:
        self.digest, self.problem, self.num_tried = digest, problem, 0

    def check(self, task: str) -> TaskReport:
        self.num_tried += 1
        failed = CheckResult(task=task, check="loss", state="failed", text=self.problem)
        return TaskReport(task=task, implementation="m:C", results=(failed,) if self.problem else ())

    def codes(self) -> TaskCodes:
        return TaskCodes(lambda task: self.digest, self.check)


@pytest.fixture(autouse=True)
def _read_each_time(monkeypatch):
    monkeypatch.setattr(task_code, "DIGEST_S_MAX", 0.0)


def test_code_is_tried_once_and_again_when_it_or_a_policy_changed():
    code = Code(problem=BUG)
    codes = code.codes()
    assert codes.look("digits", policy_digest="p") == CodeState(digest="d1"), "looking tries nothing"
    for _ in range(2):
        assert codes.try_out("digits", policy_digest="p").problem == f"loss: {BUG}"
    assert code.num_tried == 1
    assert codes.look("digits", policy_digest="p").problem
    code.digest, code.problem = "d2", ""
    assert codes.try_out("digits", policy_digest="p") == CodeState(digest="d2")
    codes.try_out("digits", policy_digest="q")
    assert code.num_tried == 3


def test_a_problem_is_looked_for_again_after_a_while(monkeypatch):
    """A machine that was too slow for the deadline holds no task back permanently."""
    code = Code(problem="build_model: it did not end in 60 s")
    codes = code.codes()
    assert codes.try_out("digits", policy_digest="p").problem
    monkeypatch.setattr(task_code, "RETRY_S", 0.0)
    code.problem = ""
    assert codes.look("digits", policy_digest="p").problem == ""
    assert codes.try_out("digits", policy_digest="p").problem == ""
    codes.try_out("digits", policy_digest="p")
    assert code.num_tried == 2


def test_code_that_is_not_installed_here_holds_nothing_back():
    code = Code(digest="", problem=BUG)
    assert code.codes().try_out("digits", policy_digest="p") == CodeState()
    assert code.num_tried == 0


@pytest.mark.parametrize(
    ("num_labels", "problem", "code", "num_tried"),
    [
        pytest.param(1, BUG, "short", 0, id="not-due"),
        pytest.param(9, BUG, "broken_task", 1, id="due-and-broken"),
        pytest.param(9, "", "threshold", 1, id="due-and-well"),
    ],
)
def test_a_tick_tries_the_code_only_when_a_run_is_due_and_starts_none_with_broken_code(
    num_labels, problem, code, num_tried
):
    world, on_disk = World(), Code(problem=problem)
    codes = on_disk.codes()
    world.ports.stores.labels.put_shard("digits", b"x", num_labels=num_labels)
    told = tick(
        world.ports,
        TaskPolicy(trigger=TriggerPolicy(threshold=5), digest="p1"),
        task="digits",
        code=codes.look("digits", policy_digest="p1"),
        try_code=lambda: codes.try_out("digits", policy_digest="p1"),
    )
    assert (told.code, on_disk.num_tried) == (code, num_tried), told.reason
    assert len(world.ports.pipelines.list_runs()) == (code == "threshold")
    if code == "broken_task":
        assert "/w/t.py, line 3" in told.reason and "ratchet tasks check digits" in told.reason


def test_a_check_that_the_process_did_not_survive_is_the_one_that_failed():
    told = [CheckResult(task="a", check="load", state=state) for state in ("begun", "passed")]
    told.append(CheckResult(task="a", check="build_model", state="begun"))
    first, second = reports_of([("a", "m:A"), ("b", "m:B")], told, ending="it did not end in 5 s")
    assert first.problem == "build_model: it did not end in 5 s"
    assert (second.problem, bool(second.not_checked)) == ("", True), "what was not reached is no failure"
