"""Several sensors, people and runs over one journal and one KFP, in any order of their calls, whatever fails.

Every call to S3 or KFP is a step of its own; hypothesis decides who takes the next one and what becomes of it. A
failure shrinks to a few steps, which are then the story of the bug.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from greenlet import GreenletExit, getcurrent, greenlet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet.actions.runs.claims import end_duplicates, follow_up, start
from ratchet.actions.runs.turn import OwnRun, claim_turn
from ratchet.core.errors import Conflict, Unavailable
from ratchet.core.labels.backlog import Backlog
from ratchet.core.runs import LastRun, Situation, Trigger, plan_request
from ratchet.stores.run_claims import NOBODY, ClaimedRun
from ratchet.stores.run_journal import LEASE_S, RunJournal
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines
from tests.searching import examples

pytestmark = pytest.mark.slow

NUM_REPLICAS = 3
TASK = "digits"
FATES = ("done", "done", "done", "done", "refused", "answer-lost", "done-late", "killed")
"""What becomes of a call. done-late: its caller gave up, and the server carries it out at some later moment."""
WRITES = ("put_if_absent", "submit", "terminate")


class ReplicaClock:
    """Its wall clock is off by `skew_s`; its monotonic clock runs, unless the machine is suspended."""

    def __init__(self, skew_s: float) -> None:
        self.skew_s, self.elapsed = skew_s, 0.0

    def now(self) -> datetime:
        return datetime(2026, 5, 4, tzinfo=UTC) + timedelta(seconds=self.elapsed + self.skew_s)

    def elapsed_s(self) -> float:
        return self.elapsed

    def sleep(self, duration_s: float) -> None:
        raise AssertionError("nobody sleeps here")


class Remote:
    """A server as one actor reaches it: before each call the others may act, and the call may fail."""

    def __init__(self, inner: Any, late: list[Callable[[], Any]]) -> None:
        self._inner, self._late = inner, late

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            fate = getcurrent().parent.switch(name)
            deed = partial(getattr(self._inner, name), *args, **kwargs)
            if fate == "refused":
                raise Unavailable(f"{name} was refused")
            if fate == "done-late" and name in WRITES:
                self._late.append(deed)
                raise Unavailable(f"{name} timed out")
            answer = deed()
            if fate in ("answer-lost", "done-late"):
                raise Unavailable(f"the answer of {name} was lost")
            return list(answer) if isinstance(answer, Iterator) else answer

        return call


class World:
    """The servers, the replicas that start runs, and the runs that KFP has."""

    def __init__(self, skews_s: tuple[float, ...]) -> None:
        self.objects, self.pipelines = FakeObjectStore(), FakePipelines()
        self.late: list[Callable[[], Any]] = []
        self.clocks = [ReplicaClock(skew_s) for skew_s in skews_s]
        self.replicas: list[greenlet] = [self._replica(clock) for clock in self.clocks]
        self.runs: dict[str, greenlet] = {}
        self.with_effect: list[str] = []
        self.ended: set[str] = set()
        self.is_healing = False

    def step(self, actor: int, fate: str) -> None:
        """Let one actor make its next call."""
        self._meet_new_runs()
        run_ids = [run_id for run_id in self.runs if run_id not in self.ended]
        if (number := actor % (len(self.replicas) + len(run_ids))) < len(self.replicas):
            self._step_replica(number, fate)
        else:
            self._step_run(run_ids[number - len(self.replicas)], fate)
        self._check()

    def pass_time(self, duration_s: float, *, suspended: int | None = None) -> None:
        for number, clock in enumerate(self.clocks):
            clock.elapsed += 0 if number == suspended else duration_s

    def start_by_hand(self) -> None:
        self.pipelines.submit("retrain", run_name="by hand", experiment=TASK, parameters={"task": TASK, "run_key": ""})

    def do_late(self) -> None:
        """A server carries out what its caller gave up on."""
        if self.late:
            with contextlib.suppress(Conflict):
                self.late.pop(0)()

    def heal(self) -> None:
        """Everything works again for several leases, and nobody wants another run."""
        self.is_healing = True
        while self.late:
            self.do_late()
        for _ in range(5):
            self.pass_time(LEASE_S / 2)
            for actor in range(2 * len(self.replicas)):
                for _ in range(12):
                    self.step(actor, "done")

    def claims(self) -> list[ClaimedRun]:
        journal = RunJournal(self.objects, "ratchet")
        newest = journal.fetch_newest(TASK)
        return list(journal.list_since(TASK, newest=newest, since=datetime(2020, 1, 1, tzinfo=UTC)))

    def _step_replica(self, number: int, fate: str) -> None:
        replica = self.replicas[number]
        if fate == "killed":
            replica.throw(GreenletExit)
            self.replicas[number] = self._replica(self.clocks[number])
        else:
            replica.switch(fate)

    def _step_run(self, run_id: str, fate: str) -> None:
        """A run that was terminated, or whose pod was killed, makes no further call."""
        run, is_over = self.runs[run_id], self.pipelines.fetch_run(run_id).is_finished
        if fate == "killed" or is_over:
            run.throw(GreenletExit)
            self._finish(run_id, "FAILED")
            return
        run.switch(fate)
        if run.dead:
            self._finish(run_id, "SUCCEEDED" if run_id in self.with_effect else "FAILED")

    def _finish(self, run_id: str, state: str) -> None:
        self.ended.add(run_id)
        if not self.pipelines.fetch_run(run_id).is_finished:
            self.pipelines.finish(run_id, state)

    def _meet_new_runs(self) -> None:
        for run in reversed(self.pipelines.list_runs(limit=1000)):
            if run.run_id not in self.runs:
                self.runs[run.run_id] = greenlet(partial(self._run, run.run_id, run.name))

    def _check(self) -> None:
        under_way = [run_id for run_id in self.with_effect if run_id not in self.ended]
        assert len(under_way) <= 1, f"two runs have effect at once: {under_way}"
        canceled = [run_id for run_id in under_way if self.pipelines.fetch_run(run_id).state == "CANCELED"]
        assert not canceled, f"a run that has effect was terminated: {canceled}"

    def _replica(self, clock: ReplicaClock) -> greenlet:
        """A process that ticks for ever."""
        objects, pipelines = Remote(self.objects, self.late), Remote(self.pipelines, self.late)

        def tick_for_ever(fate: str) -> None:
            journal = RunJournal(objects, "ratchet")
            while True:
                try:
                    newest = follow_up(journal, pipelines, task=TASK, clock=clock)
                    unfinished = pipelines.list_unfinished(TASK)
                    end_duplicates(pipelines, newest, unfinished)
                    wants_run = newest is None or (newest.end is not None and not self.is_healing)
                    if wants_run and not unfinished:
                        trigger = trigger_after(newest.as_last_run() if newest else None)
                        start(journal, pipelines, trigger, after=newest, clock=clock)
                except (Conflict, Unavailable):
                    pass

        return greenlet(tick_for_ever)

    def _run(self, run_id: str, name: str, fate: str) -> None:
        """A run of the pipeline: it asks for its turn, and has effect for as long as the next call takes."""
        remote = Remote(self.objects, self.late)
        journal = RunJournal(remote, "ratchet")
        run = OwnRun(task=TASK, run_key=self.pipelines.parameters[run_id]["run_key"], run_id=run_id, name=name)
        try:
            if claim_turn(journal, run, trigger_after=trigger_after, clock=self.clocks[0]).is_current:
                self.with_effect.append(run_id)
                remote.exists("s3://ratchet/work")
        except Unavailable:
            return


def trigger_after(last: LastRun | None) -> Trigger:
    backlog = Backlog(watermark="", num_labels=200, shard_keys=("digits/a",))
    planned = plan_request(Situation(backlog, task=TASK, policy_digest="p", last=last), again=True)
    assert isinstance(planned, Trigger), planned.reason
    return planned


STEP = st.tuples(
    st.integers(0, 7),
    st.sampled_from((0, 1, 3, 6, 12)),
    st.sampled_from(FATES),
    st.sampled_from((0.0, 0.0, 0.0, 1.0, LEASE_S / 6, LEASE_S)),
    st.sampled_from((None, None, 0, 1)),
    st.sampled_from(("", "", "", "", "late", "by hand")),
)
SKEWS_S = st.tuples(*[st.sampled_from((-600.0, 0.0, 600.0))] * NUM_REPLICAS)


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(skews_s=SKEWS_S, steps=st.lists(STEP, min_size=30, max_size=60))
def test_in_any_order_and_whatever_fails_each_claim_is_one_run(skews_s, steps):
    world = World(skews_s)
    for actor, num_calls, fate, duration_s, suspended, also in steps:
        world.pass_time(duration_s, suspended=suspended)
        if also == "late":
            world.do_late()
        elif also == "by hand":
            world.start_by_hand()
        for _ in range(num_calls):
            world.step(actor, "done")
        world.step(actor, fate)
    world.heal()
    claims = world.claims()
    assert claims, "nothing is lost: labels wait, so a run was started"
    recorded = [claimed.run_id for claimed in claims if claimed.run_id not in (None, NOBODY)]
    assert len(set(recorded)) == len(recorded), "no run stands for two claims"
    assert all(claimed.run_id is not None for claimed in claims[1:])
    assert set(world.with_effect) <= set(recorded), "only a recorded run has effect"
    assert len(world.with_effect) == len(set(world.with_effect))
    keyed = [claimed for claimed in claims if claimed.claim.adopted is None and claimed.run_id]
    for claimed in keyed:
        same = [run for run in world.pipelines.find_runs(claimed.claim.run_name) if run.run_id in world.with_effect]
        assert len(same) <= 1
