"""A loop that stands still, or whose thread has ended, is named; one that is busy or pauses is not."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from ratchet.actions.rollout.guard_report import GuardReport
from sensors.guard.loop import GuardLoop
from sensors.guard.sweeping import SweepLoop
from sensors.label_sensor.loop import SensorLoop
from sensors.label_sensor.schedule_keeper import ScheduleKeeper
from sensors.label_sensor.tick import TickReport
from tests.unit.sensors.label_sensor.test_loop import wait_for
from wire.heartbeat import Heartbeat, problem_in


@pytest.mark.parametrize(
    ("pause_s", "age_s", "is_still"),
    [
        pytest.param(0.0, 60.0, False, id="at-the-limit"),
        pytest.param(0.0, 60.1, True, id="over-it"),
        pytest.param(3600.0, 3660.0, False, id="a-pause-is-no-standstill"),
        pytest.param(3600.0, 3660.1, True, id="nor-is-it-an-excuse"),
    ],
)
def test_a_loop_stands_still_when_its_next_turn_is_late_beyond_the_limit(
    pause_s: float, age_s: float, is_still: bool
) -> None:
    now = [0.0]
    heartbeat = Heartbeat("ticks", late_s_max=60.0, clock=lambda: now[0])
    heartbeat.beat(next_in_s=pause_s)
    now[0] = age_s
    expected = f"loop ticks has not ended a turn for {age_s:.0f} s (limit 60 s)" if is_still else ""
    assert heartbeat.problem == expected


def test_a_loop_that_was_never_begun_is_no_problem() -> None:
    assert problem_in([Heartbeat("later", late_s_max=0.0)]) == ""


def ends_its_thread(*_: object) -> None:
    """As nothing but the end of the interpreter does: no `except Exception` of a loop takes it for an error."""
    raise SystemExit


def names_its_end(heartbeats: Sequence[Heartbeat]) -> bool:
    return "has ended" in problem_in(heartbeats)


def ticked(task: str) -> TickReport:
    return TickReport(task=task, at=datetime.now(UTC), outcome="skip", reason="quiet")


def looked(task: str) -> GuardReport:
    return GuardReport(task=task, at=datetime.now(UTC), outcome="well", reason="well")


def sensor_loop(tick: Callable[[str], TickReport], **others: Callable[..., object]) -> SensorLoop:
    return SensorLoop(tick, others.pop("list_tasks", lambda: ["a"]), interval_s=0.01, **others)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_named_at_once_in_every_loop() -> None:
    sensor = sensor_loop(ends_its_thread)  # type: ignore[arg-type]
    guard = GuardLoop(ends_its_thread, lambda: ["a"], interval_s=0.01, on_look=lambda report: None)  # type: ignore[arg-type]
    sweeping = SweepLoop(ends_its_thread, ends_its_thread, first_pause_s=0.0)  # type: ignore[arg-type]
    keeper = ScheduleKeeper(ends_its_thread, ends_its_thread, Path(__file__), look_s=0.01)  # type: ignore[arg-type]
    for loop, heartbeats in (
        (sensor, sensor.heartbeats),
        (guard, [guard.heartbeat]),
        (sweeping, [sweeping.heartbeat]),
        (keeper, [keeper.heartbeat]),
    ):
        loop.start()
        wait_for(partial(names_its_end, heartbeats))


def test_no_error_around_a_tick_or_a_look_ends_their_loop() -> None:
    """Files that cannot be listed, metrics that cannot be counted, priorities that cannot be read."""
    seen: list[str] = []

    def raises(*_: object) -> None:
        seen.append("raised")
        raise UnicodeDecodeError("latin-1", b"", 0, 1, "a policy file")

    sensor = sensor_loop(ticked, on_tick=raises, priority_of=raises)
    listing = sensor_loop(ticked, list_tasks=raises)
    guard = GuardLoop(looked, lambda: ["a"], interval_s=0.01, on_look=raises)
    guard_listing = GuardLoop(looked, raises, interval_s=0.01, on_look=lambda report: None)  # type: ignore[arg-type]
    loops = (sensor, listing, guard, guard_listing)
    for loop in loops:
        loop.start()
    wait_for(lambda: sensor.num_ticks("a") >= 3 and len(seen) > 20)
    assert problem_in([*sensor.heartbeats, *listing.heartbeats, guard.heartbeat, guard_listing.heartbeat]) == ""
    for loop in loops:
        assert loop.stop(timeout_s=5)


def test_threads_end_when_they_are_told_to() -> None:
    before = threading.active_count()
    loop = sensor_loop(ticked)
    loop.start()
    assert loop.stop(timeout_s=5) and threading.active_count() == before
