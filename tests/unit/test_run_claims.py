"""Run keys are claimed, submitted and recorded exactly once, wherever a process dies and whatever call fails."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.actions.run_claims import LEASE_S, SUBMIT_WITHIN_S, ClaimedRun, RunJournal, no_hook, settle, start
from ratchet.core.errors import Conflict, DataRejected, Unavailable
from ratchet.core.trigger import Backlog, Trigger, plan_request
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines

POINTS = ("before claim", "after claim", "after submit", "before record", "after record")
BACKLOG = Backlog(watermark="", num_labels=200, shard_keys=("digits/a",))


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 5, 4, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def elapsed_s(self) -> float:
        return self.at.timestamp()

    def sleep(self, duration_s: float) -> None:
        self.at += timedelta(seconds=duration_s)


class Crash(BaseException):
    """The end of a process: nothing catches it."""


class World:
    """One object store and one KFP; each `process()` is a fresh journal over them, as after a restart."""

    def __init__(self) -> None:
        self.objects: Any = FakeObjectStore()
        self.pipelines: Any = FakePipelines()
        self.clock = Clock()

    def journal(self) -> RunJournal:
        return RunJournal(self.objects, bucket="ratchet")

    def settle(self) -> ClaimedRun | None:
        return settle(self.journal(), self.pipelines, task="digits", clock=self.clock)

    def start(self, *, at: Callable[[str], None] = no_hook) -> ClaimedRun:
        """What one tick does."""
        journal = self.journal()
        newest = settle(journal, self.pipelines, task="digits", clock=self.clock, at=at)
        return start(journal, self.pipelines, trigger_after(newest), after=newest, clock=self.clock, at=at)

    def live_runs(self) -> list[str]:
        return [run.name for run in self.pipelines.list_runs(limit=100) if not run.is_finished]


def trigger_after(newest: ClaimedRun | None) -> Trigger:
    planned = plan_request(
        BACKLOG,
        task="digits",
        policy_digest="p",
        last=newest.as_last_run() if newest else None,
        in_flight=(),
        again=True,
    )
    assert isinstance(planned, Trigger), planned.reason
    return planned


def crash_at(wanted: str) -> Callable[[str], None]:
    def hook(point: str) -> None:
        if point == wanted:
            raise Crash(point)

    return hook


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_leaves_exactly_one_run(point):
    world = World()
    with pytest.raises(Crash):
        world.start(at=crash_at(point))
    world.clock.sleep(LEASE_S)
    settled = world.settle()
    if settled is None:
        assert point == "before claim"
        settled = world.start()
    assert world.live_runs() == [settled.claim.run_name]
    assert settled.run_id is not None
    assert world.settle() == settled, "settling twice changes nothing"


@pytest.mark.parametrize("point", POINTS[2:])
def test_a_second_crash_while_settling_leaves_exactly_one_run(point):
    world = World()
    with pytest.raises(Crash):
        world.start(at=crash_at("after claim"))
    world.clock.sleep(LEASE_S)
    with pytest.raises(Crash):
        settle(world.journal(), world.pipelines, task="digits", clock=world.clock, at=crash_at(point))
    world.clock.sleep(LEASE_S)
    settled = world.settle()
    assert settled is not None
    assert world.live_runs() == [settled.claim.run_name]


class FailsOnce:
    """A server behind a bad network: call number `number` fails, before its deed or after it."""

    def __init__(self, inner: Any, *, number: int, is_done_first: bool) -> None:
        self._inner, self._number, self._is_done_first, self.num_calls = inner, number, is_done_first, 0

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.num_calls += 1
            if self.num_calls == self._number and not self._is_done_first:
                raise Unavailable(f"{name} failed")
            answer = getattr(self._inner, name)(*args, **kwargs)
            if self.num_calls == self._number:
                raise Unavailable(f"the answer of {name} was lost")
            return answer

        return call


@pytest.mark.parametrize("is_done_first", [False, True], ids=["refused", "answer-lost"])
@pytest.mark.parametrize(
    ("server", "number"),
    [*(("objects", number) for number in range(1, 11)), *(("pipelines", number) for number in range(1, 4))],
)
def test_any_failing_call_leaves_exactly_one_run(server, number, is_done_first):
    world = World()
    healthy = getattr(world, server)
    setattr(world, server, FailsOnce(healthy, number=number, is_done_first=is_done_first))
    with pytest.raises(Unavailable):
        world.start()
        world.settle()
        world.settle()
    setattr(world, server, healthy)
    world.clock.sleep(LEASE_S)
    settled = world.settle() or world.start()
    assert settled.run_id is not None
    assert world.live_runs() == [settled.claim.run_name]


def test_of_many_that_want_to_start_at_once_one_does():
    world = World()
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def race() -> None:
        journal = world.journal()
        newest = settle(journal, world.pipelines, task="digits", clock=world.clock)
        barrier.wait(timeout=10)
        try:
            start(journal, world.pipelines, trigger_after(newest), after=newest, clock=world.clock)
            outcomes.append("started")
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["conflict"] * 7 + ["started"]
    assert len(world.live_runs()) == 1


def test_nobody_submits_while_the_owner_still_may():
    world = World()
    with pytest.raises(Crash):
        world.start(at=crash_at("after claim"))
    world.clock.sleep(LEASE_S - 1)
    settled = world.settle()
    assert settled is not None
    assert settled.run_id is None
    assert world.live_runs() == []


def test_an_owner_who_was_held_up_leaves_the_submission_to_the_next_lease():
    world = World()

    def hold_up(point: str) -> None:
        if point == "after claim":
            world.clock.sleep(SUBMIT_WITHIN_S)

    assert world.start(at=hold_up).run_id is None
    assert world.live_runs() == []
    world.clock.sleep(LEASE_S)
    world.settle()
    assert len(world.live_runs()) == 1


def test_an_owner_who_was_paused_inside_the_submission_ends_his_own_run():
    world = World()
    submit = world.pipelines.submit

    def paused_submit(*args: Any, **kwargs: Any) -> str:
        world.pipelines.submit = submit
        world.clock.sleep(LEASE_S)
        assert world.settle() is not None, "another process takes over"
        return submit(*args, **kwargs)

    world.pipelines.submit = paused_submit
    paused = world.start()
    settled = world.settle()
    assert settled is not None
    assert paused.run_id == settled.run_id, "the first run that was recorded stays"
    assert world.live_runs() == [settled.claim.run_name]


def test_a_run_that_kfp_refuses_is_a_failed_attempt():
    world = World()

    def refuse(*args: Any, **kwargs: Any) -> str:
        raise DataRejected("unknown parameter")

    world.pipelines.submit = refuse
    with pytest.raises(DataRejected):
        world.start()
    settled = world.settle()
    assert settled is not None
    assert settled.as_last_run().has_failed


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_how_a_run_ended_is_remembered_when_kfp_forgets_it(state):
    world = World()
    run_id = world.start().run_id
    world.pipelines.finish(run_id, state, "why")
    seen = world.settle()
    world.pipelines.forget(run_id)
    assert seen == world.settle()
    assert seen is not None
    assert seen.end is not None
    assert (seen.end.state, seen.end.error) == (state, "why")


def test_a_run_that_was_deleted_in_kfp_is_not_waited_for():
    world = World()
    world.pipelines.forget(world.start().run_id)
    settled = world.settle()
    assert settled is not None
    assert settled.as_last_run().has_failed


def test_attempts_follow_each_other_and_a_restart_finds_the_newest():
    world = World()
    names = []
    for _ in range(21):
        started = world.start()
        names.append(started.claim.run_name)
        world.pipelines.finish(started.run_id)
    newest = world.settle()
    assert newest is not None
    assert (newest.claim.seq, newest.claim.trigger.attempt) == (21, 20)
    assert len(set(names)) == 21


def test_finding_the_newest_claim_does_not_read_the_history():
    world = World()
    for _ in range(40):
        world.pipelines.finish(world.start().run_id)
    counted = FailsOnce(world.objects, number=0, is_done_first=False)
    journal = RunJournal(counted, bucket="ratchet")
    journal.fetch_newest("digits")
    num_first, counted.num_calls = counted.num_calls, 0
    journal.fetch_newest("digits")
    assert num_first <= 20
    assert counted.num_calls <= 5
