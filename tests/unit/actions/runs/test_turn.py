"""Whether it is a run's turn: at most one run of a task has effect, whoever started it and however late."""

import pytest

from ratchet.actions.runs.claims import follow_up, start
from ratchet.actions.runs.turn import OwnRun, claim_turn, is_run_of_newest_claim, judge_turn
from ratchet.core.runs import LastRun, Trigger
from ratchet.stores.run_claims import NOBODY, ClaimedRun
from ratchet.stores.run_journal import RunJournal
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines
from tests.unit.actions.runs.test_claims import Clock, World, trigger_after


def own(world: World, run_id: str, *, run_key: str | None = None) -> OwnRun:
    newest = world.journal().fetch_newest("digits")
    key = newest.claim.trigger.run_key if run_key is None and newest else run_key or ""
    return OwnRun(task="digits", run_key=key, run_id=run_id, name=f"name of {run_id}")


def ask(world: World, run: OwnRun) -> tuple[bool, str]:
    def by_hand(last: LastRun | None) -> Trigger:
        newest = world.journal().fetch_newest("digits")
        assert (newest.as_last_run() if newest else None) == last
        return trigger_after(newest)

    turn = claim_turn(world.journal(), run, trigger_after=by_hand, clock=world.clock)
    return turn.is_current, turn.text


def claimed(world: World) -> ClaimedRun:
    return world.journal().append_claim(trigger_after(world.follow_up()), after=world.follow_up(), clock=world.clock)


def test_a_run_that_nobody_recorded_yet_records_itself_and_its_duplicate_ends():
    """The sensor died right after its submission, or was not answered, and somebody submitted once more."""
    world = World()
    name = claimed(world).claim.run_name
    first, second = (
        world.pipelines.submit("retrain", run_name=name, experiment="digits", parameters={}) for _ in range(2)
    )
    assert ask(world, own(world, second)) == (True, ask(world, own(world, second))[1])
    assert ask(world, own(world, first))[0] is False
    followed = world.follow_up()
    assert followed is not None and followed.run_id == second, "whoever records later finds it recorded"


def test_a_late_duplicate_of_a_run_that_has_ended_has_no_effect():
    world = World()
    started = world.start()
    key = started.claim.trigger.run_key
    world.pipelines.finish(started.run_id)
    world.follow_up()
    is_current, text = ask(world, own(world, "late", run_key=key))
    assert not is_current
    assert str(started.run_id) in text and "--again" in text
    world.start()
    assert ask(world, own(world, "later", run_key=key))[0] is False, "also when the next run is in flight"


def test_a_run_key_that_nobody_claimed_has_no_effect():
    assert ask(World(), own(World(), "run-1", run_key="typed by hand"))[0] is False


def test_a_claim_that_kfp_refused_is_nobody_s_any_more():
    world = World()
    closed = world.journal().record_run(claimed(world), NOBODY, error="not started")
    run = own(world, "late")
    assert ask(world, run)[0] is False
    assert not (turn := judge_turn(run, closed)) or not turn.is_current


def test_a_run_that_was_started_in_kfp_takes_a_place_of_its_own():
    world = World()
    by_hand = world.pipelines.submit("retrain", run_name="by hand", experiment="other", parameters={})
    run = OwnRun(task="digits", run_key="", run_id=by_hand, name="by hand")
    assert ask(world, run)[0]
    assert ask(world, run)[0], "asked again it says the same"
    followed = world.follow_up()
    assert followed is not None and followed.end is None
    assert (followed.claim.run_name, followed.run_id) == ("by hand", by_hand)
    world.pipelines.finish(by_hand)
    assert (ended := world.follow_up()) is not None and ended.end is not None
    assert world.start().claim.seq == 2, "the sensor goes on after it"


@pytest.mark.parametrize("is_submitted", [True, False])
def test_a_run_that_was_started_in_kfp_ends_while_another_is_in_flight(is_submitted):
    world = World()
    other = world.start() if is_submitted else claimed(world)
    is_current, text = ask(world, OwnRun(task="digits", run_key="", run_id="by-hand"))
    assert not is_current
    assert other.claim.run_name in text


def test_the_last_run_when_it_is_retried_in_kfp_takes_the_next_place():
    world = World()
    started = world.start()
    assert started.run_id is not None
    world.pipelines.finish(started.run_id, "FAILED", "S3 was down")
    world.follow_up()
    run = own(world, started.run_id)
    world.pipelines.retry(started.run_id)
    assert ask(world, run)[0]
    newest = world.follow_up()
    assert newest is not None and (newest.claim.seq, newest.run_id, newest.end) == (2, started.run_id, None)
    world.pipelines.finish(started.run_id)
    assert (ended := world.follow_up()) is not None and ended.end is not None and ended.end.state == "SUCCEEDED"


def test_the_one_who_may_clean_up_is_the_run_of_the_newest_claim():
    world = World()
    started = world.start()
    journal = world.journal()
    assert is_run_of_newest_claim(journal, task="digits", run_id=str(started.run_id))
    assert not is_run_of_newest_claim(journal, task="digits", run_id="duplicate")
    assert not is_run_of_newest_claim(journal, task="letters", run_id=str(started.run_id))


def test_of_two_that_look_at_once_the_second_looks_again():
    objects, pipelines, clock = FakeObjectStore(), FakePipelines(), Clock()
    journal = RunJournal(objects, "ratchet")

    def race(last: LastRun | None) -> Trigger:
        newest = follow_up(journal, pipelines, task="digits", clock=clock)
        if newest is None:
            start(journal, pipelines, trigger_after(None), after=None, clock=clock)
        return trigger_after(None)

    run = OwnRun(task="digits", run_key="", run_id="by-hand")
    turn = claim_turn(RunJournal(objects, "ratchet"), run, trigger_after=race, clock=clock)
    assert not turn.is_current, turn.text
