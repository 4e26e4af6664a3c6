"""What is killed comes back, and what is not killed goes on: supervisor, keeper and small servers of their own."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded.control_plane.host.liveness import HangLimits
from embedded.control_plane.host.processes import process_stat
from embedded.leftovers import list_stack_processes, wait_gone
from embedded.services import Service, StackReport
from tests.embedded.small_stack import Stack

QUICK_TO_HANG = HangLimits(red_s_max=2.0, busy_s_max=60.0)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    made.end()


def pids_of(report: StackReport) -> dict[str, int | None]:
    return {service.name: service.pid for service in report.services}


def kill(pid: int | None) -> None:
    assert pid
    os.kill(pid, signal.SIGKILL)


def keeper_of(report: StackReport) -> int:
    assert report.supervisor.keeper
    return report.supervisor.keeper.pid


def ready_and(holds: Callable[[StackReport], bool]) -> Callable[[StackReport], bool]:
    return lambda report: report.is_ready and holds(report)


def test_whoever_of_supervisor_and_keeper_is_killed_is_started_again_and_the_servers_go_on(stack: Stack) -> None:
    stack.keep(stack.service("store"), stack.service("front", needs=("store",)))
    first = stack.wait_for(ready_and(lambda report: report.supervisor.keeper is not None))
    kill(first.supervisor.pid)
    second = stack.wait_for(ready_and(lambda report: report.supervisor.pid != first.supervisor.pid))
    assert second.supervisor.restarts == 1 and pids_of(second) == pids_of(first)
    kill(keeper_of(second))
    third = stack.wait_for(
        ready_and(lambda report: report.supervisor.keeper is not None and keeper_of(report) != keeper_of(second))
    )
    assert (third.supervisor.pid, pids_of(third)) == (second.supervisor.pid, pids_of(first))
    kill(third.supervisor.pid)  # the second keeper has never been its parent
    fourth = stack.wait_for(ready_and(lambda report: report.supervisor.restarts == 2))
    assert pids_of(fourth) == pids_of(first)
    kill(pids_of(fourth)["front"])  # which no living supervisor has started
    stack.wait_for(ready_and(lambda report: report.services[1].restarts == 1))


def test_a_supervisor_that_is_told_to_stop_leaves_nothing_and_nobody_starts_it_again(stack: Stack) -> None:
    keeper = stack.keep(stack.service("only"))
    report = stack.wait_for(lambda report: report.is_ready)
    os.kill(report.supervisor.pid, signal.SIGTERM)
    assert keeper.wait(timeout=15) == 0
    wait_gone(list_stack_processes(stack.stack_id), within_s=3)  # it frees its lock, then ends
    assert list_stack_processes(stack.stack_id) == []


def test_a_keeper_that_is_told_to_stop_ends_after_its_supervisor(stack: Stack) -> None:
    keeper = stack.keep(stack.service("only"))
    stack.wait_for(lambda report: report.is_ready)
    keeper.terminate()
    assert keeper.wait(timeout=15) == 0
    wait_gone(list_stack_processes(stack.stack_id), within_s=3)
    assert list_stack_processes(stack.stack_id) == []


def test_a_start_after_the_death_of_both_adopts_what_it_would_start_and_nothing_else(stack: Stack) -> None:
    same, other = stack.service("same"), stack.service("other")
    stack.keep(same, other)
    first = stack.wait_for(ready_and(lambda report: report.supervisor.keeper is not None))
    kill(keeper_of(first))
    kill(first.supervisor.pid)
    changed: Service = other.model_copy(update={"env": {"LEVEL": "2"}})
    os.kill(pids_of(first)["other"] or 0, signal.SIGKILL)
    stack.keep(same, changed)
    second = stack.wait_for(ready_and(lambda report: report.supervisor.pid != first.supervisor.pid))
    assert pids_of(second)["same"] == pids_of(first)["same"]
    assert pids_of(second)["other"] != pids_of(first)["other"]


def test_a_server_that_hangs_or_says_it_is_ill_is_started_again_with_its_reason(stack: Stack) -> None:
    word = stack.folder / "word"
    ill, hung = (stack.service(name).model_copy(update={"hangs": QUICK_TO_HANG}) for name in ("ill", "hung"))
    stack.start(ill.model_copy(update={"command": (*ill.command, str(word))}), hung)
    before = pids_of(stack.wait_for(lambda report: report.is_ready))
    word.write_text('{"problem": "loop ticks has not ended a turn for 61 s"}')
    os.kill(before["hung"] or 0, signal.SIGSTOP)
    red = stack.wait_for(lambda report: "red for" in report.services[0].detail)
    assert red.services[0].state == "ready" and "loop ticks" in red.services[0].detail
    stack.wait_for(lambda report: all(service.restarts for service in report.services), within_s=30)
    word.unlink()
    after = stack.wait_for(lambda report: report.is_ready)
    assert all(pids_of(after)[name] != before[name] for name in before)
    said = "\n".join(stack.happenings())
    assert "ill: ended with exit code" in said or "ill: killed by" in said
    assert "(loop ticks has not ended a turn for 61 s)" in said and "hung: " in said
    assert process_stat(before["hung"] or 0) is None


def test_an_order_to_stop_that_meets_a_dead_supervisor_ends_the_keeper(stack: Stack) -> None:
    """The servers are then `ratchet down`'s to end: nobody else knows them."""
    keeper = stack.keep(stack.service("only"))
    report = stack.wait_for(lambda report: report.is_ready)
    kill(report.supervisor.pid)
    keeper.terminate()
    deadline = time.monotonic() + 10
    while keeper.poll() is None:
        assert time.monotonic() < deadline, "the keeper waits for nobody"
        time.sleep(0.05)
