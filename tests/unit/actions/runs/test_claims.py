"""Run keys are claimed, submitted and recorded exactly once, wherever a process dies and whatever call fails."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.actions.runs.claims import SUBMIT_WITHIN_S, end_duplicates, follow_up, start
from ratchet.core.errors import Conflict, DataRejected, Unavailable
from ratchet.core.labels.backlog import Backlog
from ratchet.core.runs import Situation, Trigger, plan_request
from ratchet.stores.run_claims import NOBODY, ClaimedRun
from ratchet.stores.run_journal import LEASE_S, RunJournal
from tests.crash_points import CLAIM_POINTS as POINTS
from tests.crash_points import Tell, Watched, at, tell_nobody
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines

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
        return RunJournal(self.objects, "ratchet")

    def told(self, tell: Tell) -> tuple[Any, Any]:
        """A journal and KFP that tell of each call."""
        return Watched("journal", self.journal(), tell), Watched("pipelines", self.pipelines, tell)

    def follow_up(self) -> ClaimedRun | None:
        return follow_up(self.journal(), self.pipelines, task="digits", clock=self.clock)

    def follow_up_patiently(self, *, tell: Tell = tell_nobody) -> ClaimedRun | None:
        """What a process does that goes on ticking: it sees a lease, and sees it again when it is over."""
        journal, pipelines = self.told(tell)
        follow_up(journal, pipelines, task="digits", clock=self.clock)
        self.clock.sleep(LEASE_S)
        return follow_up(journal, pipelines, task="digits", clock=self.clock)

    def start(self, *, tell: Tell = tell_nobody) -> ClaimedRun:
        """What one tick does."""
        journal, pipelines = self.told(tell)
        newest = follow_up(journal, pipelines, task="digits", clock=self.clock)
        return start(journal, pipelines, trigger_after(newest), after=newest, clock=self.clock)

    def live_runs(self) -> list[str]:
        return [run.name for run in self.pipelines.list_runs(limit=100) if not run.is_finished]


def trigger_after(newest: ClaimedRun | None) -> Trigger:
    last = newest.as_last_run() if newest else None
    planned = plan_request(Situation(BACKLOG, task="digits", policy_digest="p", last=last), again=True)
    assert isinstance(planned, Trigger), planned.reason
    return planned


def crash_at(point: str) -> Tell:
    def crash() -> None:
        raise Crash(point)

    return at(point, crash)


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_leaves_exactly_one_run(point):
    world = World()
    with pytest.raises(Crash):
        world.start(tell=crash_at(point))
    followed = world.follow_up_patiently()
    if followed is None:
        assert point == POINTS[0]
        followed = world.start()
    assert world.live_runs() == [followed.claim.run_name]
    assert followed.run_id is not None
    assert world.follow_up() == followed, "following it up twice changes nothing"


@pytest.mark.parametrize("point", POINTS[2:])
def test_a_second_crash_while_following_up_leaves_exactly_one_run(point):
    world = World()
    with pytest.raises(Crash):
        world.start(tell=crash_at(POINTS[1]))
    with pytest.raises(Crash):
        world.follow_up_patiently(tell=crash_at(point))
    followed = world.follow_up_patiently()
    assert followed is not None
    assert world.live_runs() == [followed.claim.run_name]


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
    [*(("objects", number) for number in range(1, 10)), *(("pipelines", number) for number in range(1, 4))],
)
def test_any_failing_call_leaves_exactly_one_run(server, number, is_done_first):
    world = World()
    healthy = getattr(world, server)
    setattr(world, server, FailsOnce(healthy, number=number, is_done_first=is_done_first))
    with pytest.raises(Unavailable):
        world.start()
        world.follow_up()
        world.follow_up()
    setattr(world, server, healthy)
    followed = world.follow_up_patiently() or world.start()
    assert followed.run_id is not None
    assert world.live_runs() == [followed.claim.run_name]


def test_of_many_that_want_to_start_at_once_one_does():
    world = World()
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def race() -> None:
        journal = world.journal()
        newest = follow_up(journal, world.pipelines, task="digits", clock=world.clock)
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
        world.start(tell=crash_at(POINTS[1]))
    journal = world.journal()
    follow_up(journal, world.pipelines, task="digits", clock=world.clock)
    world.clock.sleep(LEASE_S - 1)
    followed = follow_up(journal, world.pipelines, task="digits", clock=world.clock)
    assert followed is not None
    assert followed.is_unsubmitted
    assert world.live_runs() == []


@pytest.mark.parametrize("skew_s", [-3600, 3600], ids=["slow-clock", "fast-clock"])
def test_a_skewed_clock_neither_ends_a_lease_early_nor_keeps_it(skew_s):
    """A lease is watched by one's own clock: what others wrote as their time is for people alone."""
    world = World()
    with pytest.raises(Crash):
        world.start(tell=crash_at(POINTS[1]))
    world.clock.at += timedelta(seconds=skew_s)
    journal = world.journal()
    first = follow_up(journal, world.pipelines, task="digits", clock=world.clock)
    assert first is not None and first.is_unsubmitted
    world.clock.sleep(LEASE_S)
    follow_up(journal, world.pipelines, task="digits", clock=world.clock)
    assert len(world.live_runs()) == 1


def test_a_process_that_starts_anew_watches_the_lease_from_its_start():
    world = World()
    with pytest.raises(Crash):
        world.start(tell=crash_at(POINTS[1]))
    world.clock.sleep(10 * LEASE_S)
    assert (followed := world.follow_up()) is not None
    assert followed.is_unsubmitted


def test_an_owner_who_was_held_up_leaves_the_submission_to_the_next_lease():
    world = World()

    held_up = at("journal.may_submit:before", lambda: world.clock.sleep(SUBMIT_WITHIN_S))
    assert world.start(tell=held_up).run_id is None
    assert world.live_runs() == []
    world.follow_up_patiently()
    assert len(world.live_runs()) == 1


@pytest.mark.parametrize("point", ["journal.append_claim:after", "journal.may_submit:before"])
def test_an_owner_whose_lease_was_taken_on_reads_so_before_he_submits(point):
    """Even if his clock stood still meanwhile, as that of a suspended machine does."""
    world = World()

    def pause() -> None:
        assert (other := world.follow_up_patiently()) is not None and other.run_id is not None
        world.clock.at -= timedelta(seconds=LEASE_S)

    assert world.start(tell=at(point, pause)).run_id is None
    followed = world.follow_up()
    assert followed is not None
    assert [run.run_id for run in world.pipelines.list_runs()] == [followed.run_id]


def test_an_owner_who_was_paused_inside_the_submission_ends_his_own_run():
    world = World()
    submit = world.pipelines.submit

    def paused_submit(*args: Any, **kwargs: Any) -> str:
        world.pipelines.submit = submit
        assert world.follow_up_patiently() is not None, "another process takes over"
        return submit(*args, **kwargs)

    world.pipelines.submit = paused_submit
    paused = world.start()
    followed = world.follow_up()
    assert followed is not None
    assert paused.run_id == followed.run_id, "the first run that was recorded stays"
    assert world.live_runs() == [followed.claim.run_name]


def test_a_late_run_of_a_dead_owner_is_terminated_by_whoever_sees_it():
    world = World()
    started = world.start()
    name = started.claim.run_name
    late = world.pipelines.submit("retrain", run_name=name, experiment="digits", parameters={})
    other = world.pipelines.submit("retrain", run_name="another", experiment="digits", parameters={})
    end_duplicates(world.pipelines, world.follow_up(), world.pipelines.list_unfinished("digits"))
    states = {run.run_id: run.state for run in world.pipelines.list_runs()}
    assert states == {started.run_id: "RUNNING", late: "CANCELED", other: "RUNNING"}


def test_a_refusal_that_comes_after_another_s_run_does_not_end_its_claim():
    world = World()

    def refuse(*args: Any, **kwargs: Any) -> str:
        del world.pipelines.submit
        assert world.follow_up_patiently() is not None, "another process takes over, and is not refused"
        raise DataRejected("unknown parameter")

    world.pipelines.submit = refuse
    with pytest.raises(DataRejected):
        world.start()
    followed = world.follow_up()
    assert followed is not None
    assert followed.end is None
    assert world.live_runs() == [followed.claim.run_name]


def test_a_claim_that_was_closed_by_a_process_that_died_is_ended_by_the_next():
    world = World()
    journal = world.journal()
    claimed = journal.append_claim(trigger_after(None), after=None, clock=world.clock)
    journal.record_run(claimed, NOBODY, error="not started: unknown parameter")
    followed = world.follow_up()
    assert followed is not None and followed.end is not None
    assert (followed.end.state, followed.end.error) == ("FAILED", "not started: unknown parameter")
    assert world.live_runs() == []


def test_a_run_that_kfp_refuses_is_a_failed_attempt():
    world = World()

    def refuse(*args: Any, **kwargs: Any) -> str:
        raise DataRejected("unknown parameter")

    world.pipelines.submit = refuse
    with pytest.raises(DataRejected):
        world.start()
    followed = world.follow_up()
    assert followed is not None
    assert followed.as_last_run().has_failed


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"])
def test_how_a_run_ended_is_remembered_when_kfp_forgets_it(state):
    world = World()
    run_id = world.start().run_id
    world.pipelines.finish(run_id, state, "why")
    seen = world.follow_up()
    world.pipelines.forget(run_id)
    assert seen == world.follow_up()
    assert seen is not None
    assert seen.end is not None
    assert (seen.end.state, seen.end.error) == (state, "why")


def test_a_run_that_was_deleted_in_kfp_is_not_waited_for():
    world = World()
    world.pipelines.forget(world.start().run_id)
    followed = world.follow_up()
    assert followed is not None
    assert followed.as_last_run().has_failed


def test_attempts_follow_each_other_and_a_restart_finds_the_newest():
    world = World()
    names = []
    for _ in range(21):
        started = world.start()
        names.append(started.claim.run_name)
        world.pipelines.finish(started.run_id)
    newest = world.follow_up()
    assert newest is not None
    assert (newest.claim.seq, newest.claim.trigger.attempt) == (21, 20)
    assert len(set(names)) == 21


def test_finding_the_newest_claim_does_not_read_the_history():
    world = World()
    for _ in range(40):
        world.pipelines.finish(world.start().run_id)
    counted = FailsOnce(world.objects, number=0, is_done_first=False)
    journal = RunJournal(counted, "ratchet")
    journal.fetch_newest("digits")
    num_first, counted.num_calls = counted.num_calls, 0
    journal.fetch_newest("digits")
    assert num_first <= 20
    assert counted.num_calls == 1, "one listing"


def test_the_runs_of_the_last_days_are_read_once_and_older_ones_never():
    world = World()
    for _ in range(30):
        world.pipelines.finish(world.start().run_id)
        world.follow_up()
        world.clock.sleep(86_400)
    counted = FailsOnce(world.objects, number=0, is_done_first=False)
    journal = RunJournal(counted, "ratchet")
    since = world.clock.now() - timedelta(days=8, seconds=1)

    def list_seqs() -> list[int]:
        newest = journal.fetch_newest("digits")
        return [claimed.claim.seq for claimed in journal.list_since("digits", newest=newest, since=since)]

    assert list_seqs() == list(range(30, 22, -1))
    num_first, counted.num_calls = counted.num_calls, 0
    assert list_seqs() == list(range(30, 22, -1))
    assert num_first < 60
    assert counted.num_calls == 1


def test_a_journal_that_somebody_removed_starts_anew():
    world = World()
    journal = world.journal()
    for _ in range(3):
        world.pipelines.finish(world.start().run_id)
    assert (newest := journal.fetch_newest("digits")) is not None and newest.claim.seq == 3
    for uri in list(world.objects.list_uris("s3://ratchet/runs/digits/")):
        world.objects.delete(uri)
    assert journal.fetch_newest("digits") is None
    assert world.start().claim.seq == 1
    assert (newest := journal.fetch_newest("digits")) is not None and newest.claim.seq == 1


def test_old_claims_that_were_tidied_away_are_not_missed():
    world = World()
    for _ in range(5):
        world.pipelines.finish(world.start().run_id)
    for uri in list(world.objects.list_uris("s3://ratchet/runs/digits/0000000")):
        if int(uri.split("/")[5]) <= 3:
            world.objects.delete(uri)
    world.objects.put("s3://ratchet/runs/digits/README", b"not ours")
    journal = world.journal()
    newest = journal.fetch_newest("digits")
    since = world.clock.now() - timedelta(days=1)
    assert [claimed.claim.seq for claimed in journal.list_since("digits", newest=newest, since=since)] == [5, 4]
