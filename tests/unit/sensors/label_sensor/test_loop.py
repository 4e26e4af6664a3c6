"""The loop that makes the ticks: rounds, hints, priorities, outages, the end."""

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ratchet.core.errors import PolicyError, Unavailable
from sensors.label_sensor.loop import SensorLoop
from sensors.label_sensor.rivals import rivals_of
from sensors.label_sensor.tick import TickReport
from tests.unit.sensors.label_sensor.test_tick import NOON

WITHIN_S = 10.0


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def report(reason: str = "quiet", *, task: str = "digits", **fields: Any) -> TickReport:
    return TickReport.model_validate(
        {"task": task, "at": NOON, "outcome": "skip", "code": "short", "reason": reason, **fields}
    )


class Ticks:
    """What the loop ticks: it remembers the order, and holds the tasks that a test wants held."""

    def __init__(self, *held: str) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.under_way: set[str] = set()
        self.gates = {task: threading.Event() for task in held}

    def __call__(self, task: str) -> TickReport:
        assert task not in self.under_way, "one tick of a task at a time"
        self.under_way.add(task)
        self.begun.append(task)
        if gate := self.gates.get(task):
            assert gate.wait(WITHIN_S)
        self.under_way.discard(task)
        self.ended.append(task)
        return report(task=task)


def test_the_loop_goes_on_when_servers_are_down_and_says_so_once(caplog):
    answers = iter([Unavailable("S3 is down"), Unavailable("S3 is down"), ValueError("a defect"), None])

    def answer(task: str) -> TickReport:
        error = next(answers, None)
        if error is not None:
            raise error
        return report("all is well")

    loop = SensorLoop(answer, lambda: ["digits"], interval_s=0.01)
    with caplog.at_level("INFO"):
        loop.start()
        wait_for(lambda: loop.num_ticks("digits") >= 6)
        assert loop.stop(timeout_s=WITHIN_S)
    entries = list(reversed(loop.history("digits")))
    assert [each.report.outcome for each in entries] == ["error", "error", "skip"]
    assert entries[0].num_equal == 2
    told = [record for record in caplog.records if hasattr(record, "outcome")]
    assert len(told) == 3, "one line a change"
    assert loop.last_seen()["digits"].reason == "all is well"


def test_hints_that_come_together_are_one_tick():
    ticks = Ticks("digits")
    loop = SensorLoop(ticks, lambda: ["digits"], interval_s=3600)
    loop.start()
    wait_for(lambda: ticks.begun)
    numbers = {loop.hint("digits") for _ in range(50)}
    assert numbers == {2}, "the tick under way began before the hints: the next one answers them"
    ticks.gates["digits"].set()
    wait_for(lambda: loop.num_ticks("digits") == 2)
    time.sleep(0.05)
    assert loop.num_ticks("digits") == 2
    assert loop.stop(timeout_s=WITHIN_S)


def test_a_task_whose_tick_is_stuck_holds_up_no_other():
    ticks = Ticks()
    loop = SensorLoop(ticks, lambda: ["stuck", "fine"], interval_s=3600)
    loop.start()
    wait_for(lambda: loop.has_looked)
    ticks.gates["stuck"] = threading.Event()
    loop.hint("stuck")
    wait_for(lambda: "stuck" in ticks.under_way)

    def has_ticked(number: int) -> bool:
        return loop.num_ticks("fine") >= number

    for _ in range(10):
        number = loop.hint("fine")
        wait_for(functools.partial(has_ticked, number))
    assert (loop.num_ticks("stuck"), "stuck" in ticks.under_way) == (1, True)
    ticks.gates["stuck"].set()
    assert loop.stop(timeout_s=WITHIN_S)


def test_a_first_look_that_is_stuck_ends_the_order_but_not_the_looking(monkeypatch):
    monkeypatch.setattr("sensors.label_sensor.loop.FIRST_LOOK_S", 0.05)
    ticks = Ticks("a")
    loop = SensorLoop(ticks, lambda: ["a", "b"], interval_s=3600)
    loop.start()
    wait_for(lambda: ticks.ended == ["b"])
    assert not loop.has_looked
    ticks.gates["a"].set()
    wait_for(lambda: loop.has_looked)
    assert loop.stop(timeout_s=WITHIN_S)


def test_the_first_round_goes_by_priority_and_one_by_one():
    priorities = {"experiment": 0, "odd": 50, "production": 100}
    ticks = Ticks()
    loop = SensorLoop(ticks, lambda: list(priorities), interval_s=3600, priority_of=priorities.__getitem__)
    loop.start()
    wait_for(lambda: loop.has_looked)
    assert ticks.begun == ["production", "odd", "experiment"]
    assert loop.stop(timeout_s=WITHIN_S)


def test_a_policy_that_is_wrong_has_no_priority_and_a_tick():
    def priority_of(task: str) -> int:
        raise PolicyError("trigger.yaml: treshold")

    ticks = Ticks()
    loop = SensorLoop(ticks, lambda: ["digits"], interval_s=3600, priority_of=priority_of)
    loop.start()
    wait_for(lambda: loop.has_looked)
    assert loop.priorities() == {"digits": 0}
    assert loop.stop(timeout_s=WITHIN_S)


def test_a_storm_of_hints_leaves_a_task_time_to_rest():
    def slow(task: str) -> TickReport:
        time.sleep(0.02)
        return report()

    loop = SensorLoop(slow, lambda: ["digits"], interval_s=3600)
    loop.start()
    wait_for(lambda: loop.has_looked)
    began_at, num_before = time.monotonic(), loop.num_ticks("digits")
    while time.monotonic() < began_at + 0.3:
        loop.hint("digits")
    num_ticks = loop.num_ticks("digits") - num_before
    took_s = time.monotonic() - began_at
    assert loop.stop(timeout_s=WITHIN_S)
    assert 1 <= num_ticks <= took_s / 0.04 + 2, "work and rest in equal shares, 0.02 s each"


class CountingLoop(SensorLoop):
    num_waits = 0

    def _next_change_at(self, now: float) -> float:
        self.num_waits += 1
        return super()._next_change_at(now)


@pytest.mark.parametrize("held", [pytest.param((), id="idle"), pytest.param(("a",), id="its first look is stuck")])
def test_a_loop_with_nothing_to_do_sleeps(held):
    ticks = Ticks(*held)
    loop = CountingLoop(ticks, lambda: ["a", "b"], interval_s=3600)
    loop.start()
    wait_for(lambda: "a" in ticks.under_way if held else loop.has_looked)
    time.sleep(0.1)
    assert loop.num_waits < 50, "nobody spins"
    for gate in ticks.gates.values():
        gate.set()
    assert loop.stop(timeout_s=WITHIN_S)


def test_a_task_that_is_gone_is_forgotten():
    tasks = ["digits", "churn"]
    gone: list[str] = []
    loop = SensorLoop(Ticks(), lambda: list(tasks), interval_s=0.01, on_gone=gone.append)
    loop.start()
    wait_for(lambda: loop.newest().keys() == {"digits", "churn"})
    tasks.remove("churn")
    wait_for(lambda: gone == ["churn"])
    wait_for(lambda: loop.newest().keys() == {"digits"})
    assert loop.history("churn") == []
    assert loop.stop(timeout_s=WITHIN_S)


def test_stopping_lets_the_tick_under_way_finish():
    ticks = Ticks("digits")
    loop = SensorLoop(ticks, lambda: ["digits"], interval_s=0.01)
    loop.start()
    wait_for(lambda: ticks.begun)
    assert not loop.stop(timeout_s=0.01), "it says that one is still under way"
    ticks.gates["digits"].set()
    assert loop.stop(timeout_s=WITHIN_S)
    assert ticks.begun == ticks.ended == ["digits"], "and none begins any more"


@pytest.mark.parametrize(
    ("fields", "is_running", "is_due"),
    [
        pytest.param({"code": "short"}, False, False, id="too few labels"),
        pytest.param({"code": "busy", "is_running": True}, True, False, id="its run is under way"),
        pytest.param({"outcome": "trigger", "code": "threshold", "is_running": True}, True, False, id="just started"),
        pytest.param({"code": "no_slot"}, False, True, id="waits for a slot"),
        pytest.param({"code": "yields"}, False, True, id="yields to another"),
    ],
)
def test_what_others_see_of_a_task(fields, is_running, is_due):
    seen = {"digits": report(), "churn": report(task="churn", last_started_at=NOON, **fields)}
    (rival,) = rivals_of("digits", seen, priorities={"churn": 7})
    assert (rival.task, rival.priority, rival.is_running, rival.is_due) == ("churn", 7, is_running, is_due)
    assert rival.last_started_at == NOON
