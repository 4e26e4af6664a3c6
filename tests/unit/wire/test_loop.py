"""A loop goes on whatever a round does, says why one failed, and is red when it stands still."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from wire.loop import Loop


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def turning(loop: Loop) -> Iterator[Loop]:
    loop.start()
    try:
        yield loop
    finally:
        loop.stop()


class Rounds:
    """Counts them; each does what it is told. Two at a time are an error."""

    def __init__(self, do: Callable[[int], float | None] = lambda number: None) -> None:
        self.num, self.num_at_once_max, self._num_now, self._do = 0, 0, 0, do

    def __call__(self) -> float | None:
        self.num += 1
        self._num_now += 1
        self.num_at_once_max = max(self.num_at_once_max, self._num_now)
        try:
            return self._do(self.num)
        finally:
            self._num_now -= 1


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("broken"),
        MemoryError(),
        RecursionError("deep"),
        Unspeakable(),
        UnicodeDecodeError("x", b"", 0, 1, "y"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_is_one_failed_round_with_a_reason(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    def do(number: int) -> None:
        if number <= 3:
            raise error

    rounds = Rounds(do)
    with caplog.at_level(logging.INFO), turning(Loop("ticks", rounds, pause_s=0.001, late_s_max=60.0)) as loop:
        wait_for(lambda: rounds.num > 5)
        assert loop.heartbeat.problem == ""
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failed) == 1, "the same reason is not told three times in a moment"
    assert failed[0].exc_info and failed[0].getMessage().startswith("loop ticks: a round failed")
    assert type(error).__name__ in failed[0].getMessage()
    assert "loop ticks works again" in caplog.text


def test_another_reason_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    def do(number: int) -> None:
        raise ValueError(f"reason {min(number, 3)}")

    rounds = Rounds(do)
    with turning(Loop("ticks", rounds, pause_s=0.001, late_s_max=60.0)):
        wait_for(lambda: rounds.num > 6)
    assert [f"reason {number}" in caplog.text for number in (1, 2, 3)] == [True] * 3
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 3


def test_a_round_that_does_not_end_is_red_and_green_again_once_it_has() -> None:
    gate = threading.Event()
    rounds = Rounds(lambda number: gate.wait(10) and None if number == 2 else None)
    with turning(Loop("ticks", rounds, pause_s=0.001, late_s_max=0.05)) as loop:
        wait_for(lambda: "loop ticks has not ended a turn" in loop.heartbeat.problem)
        gate.set()
        wait_for(lambda: loop.heartbeat.problem == "")


def test_a_pause_that_the_round_asks_for_is_no_standstill() -> None:
    with turning(Loop("ticks", lambda: 30.0, pause_s=0.001, first_pause_s=0.0, late_s_max=0.05)) as loop:
        time.sleep(0.2)
        assert loop.heartbeat.problem == ""


def test_a_first_pause_is_no_standstill() -> None:
    with turning(Loop("ticks", lambda: None, pause_s=30.0, late_s_max=0.05)) as loop:
        time.sleep(0.2)
        assert loop.heartbeat.problem == ""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_is_red_and_can_be_started_again() -> None:
    def do(number: int) -> None:
        if number == 1:
            raise SystemExit

    rounds = Rounds(do)
    with turning(Loop("ticks", rounds, pause_s=0.001, late_s_max=60.0)) as loop:
        wait_for(lambda: loop.heartbeat.problem == "loop ticks has ended")
        loop.start()
        wait_for(lambda: rounds.num > 3)
        assert loop.heartbeat.problem == ""


def test_rounds_never_overlap_however_often_it_is_started_and_stopped() -> None:
    rounds = Rounds(lambda number: time.sleep(0.01))
    loop = Loop("ticks", rounds, pause_s=0.0, late_s_max=60.0)
    for timeout_s in itertools.islice(itertools.cycle((0.0, 1.0, 0.0)), 12):
        loop.start()
        loop.start()
        time.sleep(0.005)
        loop.stop(timeout_s=timeout_s)
    assert loop.stop(timeout_s=5) and rounds.num_at_once_max <= 1
    num = rounds.num
    time.sleep(0.05)
    assert rounds.num == num, "none goes on after the stop"


def test_the_last_deed_is_done_once_also_when_it_fails() -> None:
    done: list[str] = []

    def last() -> None:
        done.append(threading.current_thread().name)
        raise OSError("full")

    loop = Loop("ticks", lambda: None, pause_s=30.0, late_s_max=60.0, at_stop=last)
    loop.start()
    assert loop.stop(timeout_s=5) and done == ["ticks"]
    assert loop.stop(timeout_s=5) and done == ["ticks"]


def test_one_that_was_never_started_is_stopped() -> None:
    assert Loop("ticks", lambda: None, pause_s=1.0, late_s_max=1.0).stop()
