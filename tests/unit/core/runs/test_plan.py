"""When a run starts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.backlog import Backlog
from ratchet.core.runs import (
    LastRun,
    RunEnd,
    Situation,
    Skip,
    Trigger,
    TriggerPolicy,
    plan_request,
    plan_tick,
    run_key_of,
    run_name_of,
)

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
POLICY = TriggerPolicy(threshold=200, failed_attempts_max=3, retry_wait_s=30)
OLD, NEW = "digits/2026/05/01/A.jsonl", "digits/2026/05/04/B.jsonl"


def backlog(num_labels: int, *, watermark: str = OLD, shards: tuple[str, ...] | None = None) -> Backlog:
    keys = shards if shards is not None else ((NEW,) if num_labels else ())
    return Backlog(watermark=watermark, num_labels=num_labels, shard_keys=keys)


def last_run(
    state: str | None,
    *,
    started_with: Backlog | None = None,
    ended_s_ago: float = 3600,
    policy_digest: str = "p1",
    attempt: int = 0,
    num_failed_before: int = 0,
    trains_accepted: bool = False,
) -> LastRun:
    started_with = started_with or backlog(200)
    newest = started_with.shard_keys[-1] if started_with.shard_keys else ""
    trigger = Trigger(
        run_key=run_key_of(
            task="digits", watermark=started_with.watermark, policy_digest=policy_digest, attempt=attempt
        ),
        reason="test",
        task="digits",
        watermark=started_with.watermark,
        attempt=attempt,
        policy_digest=policy_digest,
        num_labels=started_with.num_labels,
        newest_shard=newest,
        shards_digest=started_with.digest_through(newest),
        num_failed_before=num_failed_before,
        trains_accepted=trains_accepted,
    )
    end = RunEnd.model_validate({"state": state, "at": NOON - timedelta(seconds=ended_s_ago)}) if state else None
    return LastRun(name=run_name_of("digits", trigger.run_key), trigger=trigger, end=end)


def plan(pending: Backlog, *, last: LastRun | None = None, in_flight: tuple[str, ...] = ()) -> Trigger | Skip:
    situation = Situation(pending, task="digits", policy=POLICY, policy_digest="p1", last=last, in_flight=in_flight)
    return plan_tick(situation, now=NOON)


def request(pending: Backlog, *, last: LastRun | None = None, again: bool = False) -> Trigger | Skip:
    return plan_request(Situation(pending, task="digits", policy_digest="p1", last=last), again=again)


@pytest.mark.parametrize(
    ("num_labels", "action"),
    [
        pytest.param(0, Skip, id="nothing-new"),
        pytest.param(199, Skip, id="one-short"),
        pytest.param(200, Trigger, id="at-the-threshold"),
        pytest.param(201, Trigger, id="one-over"),
    ],
)
def test_the_threshold_counts_new_labels(num_labels, action):
    planned = plan(backlog(num_labels))
    assert isinstance(planned, action), planned.reason
    assert f"{num_labels} new labels" in planned.reason
    assert "threshold 200" in planned.reason


@pytest.mark.parametrize(
    ("last", "in_flight"),
    [
        pytest.param(last_run(None), (), id="claimed-and-not-ended"),
        pytest.param(last_run("SUCCEEDED"), ("by-hand",), id="somebody-else-s-run"),
    ],
)
def test_one_run_in_flight_per_task(last, in_flight):
    planned = plan(backlog(5000), last=last, in_flight=in_flight)
    assert isinstance(planned, Skip)
    assert "1 run is in flight" in planned.reason
    assert "5000 new labels" in planned.reason


REFUSED = last_run("SUCCEEDED", started_with=backlog(300, shards=("a", "b")))


@pytest.mark.parametrize(
    ("pending", "action"),
    [
        pytest.param(backlog(300, shards=("a", "b")), Skip, id="same-labels-as-refused"),
        pytest.param(backlog(499, shards=("a", "b", "c")), Skip, id="199-more"),
        pytest.param(backlog(500, shards=("a", "b", "c")), Trigger, id="200-more"),
        pytest.param(backlog(200, shards=("b",)), Trigger, id="the-bad-shard-in-quarantine-and-enough-left"),
        pytest.param(backlog(199, shards=("b",)), Skip, id="the-bad-shard-in-quarantine-and-too-few-left"),
        pytest.param(backlog(300, watermark=NEW, shards=("x",)), Trigger, id="accepted-and-enough-new"),
    ],
)
def test_labels_that_a_gate_said_no_to_do_not_count_again(pending, action):
    planned = plan(pending, last=REFUSED)
    assert isinstance(planned, action), planned.reason


@pytest.mark.parametrize(
    ("last", "action", "said"),
    [
        pytest.param(
            last_run("FAILED", ended_s_ago=29), Skip, "not before 2026-05-04 12:00:01 UTC", id="pause-not-over"
        ),
        pytest.param(last_run("FAILED", ended_s_ago=30), Trigger, "1 in a row", id="pause-over"),
        pytest.param(last_run("FAILED", ended_s_ago=59, num_failed_before=1), Skip, "12:00:01 UTC", id="pause-doubles"),
        pytest.param(last_run("FAILED", ended_s_ago=60, num_failed_before=1), Trigger, "2 in a row", id="third-try"),
        pytest.param(last_run("FAILED", num_failed_before=2), Skip, "--again", id="three-failed"),
        pytest.param(last_run("FAILED", num_failed_before=2, policy_digest="p0"), Trigger, "200", id="policy-changed"),
        pytest.param(last_run("CANCELED"), Skip, "ended CANCELED", id="stopped-by-a-person"),
    ],
)
def test_failed_runs_are_retried_within_bounds(last, action, said):
    planned = plan(backlog(200), last=last)
    assert isinstance(planned, action), planned.reason
    assert said in planned.reason


def test_a_run_that_failed_after_its_labels_were_accepted_is_made_up_for():
    first = plan(backlog(0, watermark=NEW), last=last_run("FAILED", started_with=backlog(200, watermark=OLD)))
    assert isinstance(first, Trigger), first.reason
    assert (first.attempt, first.num_failed_before, first.trains_accepted) == (0, 1, True)

    failed_again = LastRun(name="r2", trigger=first, end=RunEnd(state="FAILED", at=NOON - timedelta(hours=1)))
    second = plan(backlog(0, watermark=NEW), last=failed_again)
    assert isinstance(second, Trigger), second.reason
    assert (second.attempt, second.num_failed_before) == (1, 2)

    third = LastRun(name="r3", trigger=second, end=RunEnd(state="FAILED", at=NOON - timedelta(hours=1)))
    assert isinstance(plan(backlog(0, watermark=NEW), last=third), Skip)


@pytest.mark.parametrize("state", ["SUCCEEDED", "CANCELED"])
def test_a_run_that_did_not_fail_is_never_made_up_for(state):
    assert isinstance(plan(backlog(0, watermark=NEW), last=last_run(state, started_with=backlog(200))), Skip)


@pytest.mark.parametrize(
    ("num_labels", "last", "again", "action", "said"),
    [
        pytest.param(1, None, False, Trigger, "by hand", id="any-new-label-will-do"),
        pytest.param(0, None, False, Skip, "ratchet labels push", id="nothing-new"),
        pytest.param(0, None, True, Trigger, "again", id="nothing-new-but-again"),
        pytest.param(200, last_run("FAILED"), False, Skip, "--again", id="same-labels-twice-by-accident"),
        pytest.param(200, last_run("FAILED"), True, Trigger, "again", id="same-labels-twice-on-purpose"),
        pytest.param(200, last_run(None), True, Skip, "runs watch", id="never-two-at-once"),
    ],
)
def test_what_a_person_asks_for(num_labels, last, again, action, said):
    planned = request(backlog(num_labels), last=last, again=again)
    assert isinstance(planned, action), planned.reason
    assert said in planned.reason


def test_attempts_are_counted_from_the_watermark():
    again = request(backlog(200), last=last_run("SUCCEEDED", attempt=4), again=True)
    assert isinstance(again, Trigger)
    assert again.attempt == 5
    moved = request(backlog(200, watermark=NEW), last=last_run("SUCCEEDED", attempt=4))
    assert isinstance(moved, Trigger)
    assert moved.attempt == 0


def test_the_run_key_is_a_pure_function_of_what_identifies_a_run():
    key = run_key_of(task="digits", watermark=OLD, policy_digest="p", attempt=0)
    assert key == run_key_of(task="digits", watermark=OLD, policy_digest="p", attempt=0)
    others = [
        run_key_of(task="letters", watermark=OLD, policy_digest="p", attempt=0),
        run_key_of(task="digits", watermark=NEW, policy_digest="p", attempt=0),
        run_key_of(task="digits", watermark=OLD, policy_digest="q", attempt=0),
        run_key_of(task="digits", watermark=OLD, policy_digest="p", attempt=1),
    ]
    assert len({key, *others}) == 5


BACKLOGS = st.builds(
    lambda counts, watermark: backlog(
        sum(counts), watermark=watermark, shards=tuple(f"s{number:02d}" for number in range(len(counts)))
    ),
    st.lists(st.integers(0, 150), max_size=6),
    st.sampled_from(["", OLD, NEW]),
)
LAST_RUNS = st.none() | st.builds(
    last_run,
    st.sampled_from([None, "SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"]),
    started_with=BACKLOGS,
    ended_s_ago=st.floats(0, 500),
    policy_digest=st.sampled_from(["p0", "p1"]),
    attempt=st.integers(0, 5),
    num_failed_before=st.integers(0, 4),
    trains_accepted=st.booleans(),
)


@given(BACKLOGS, LAST_RUNS)
def test_money_is_spent_only_within_the_policy(pending, last):
    planned = plan(pending, last=last)
    assert planned.reason
    if isinstance(planned, Skip):
        return
    assert last is None or last.end is not None, "never two at once"
    assert planned.num_failed_before < POLICY.failed_attempts_max
    assert pending.num_labels >= POLICY.threshold or planned.trains_accepted
    assert not planned.trains_accepted or (last is not None and last.has_failed)
    if last is not None and last.trigger.watermark == pending.watermark:
        assert planned.run_key != last.trigger.run_key, "no run key stands for two runs"
        assert planned.attempt == last.trigger.attempt + 1


@given(BACKLOGS, LAST_RUNS, st.integers(1, 500))
def test_more_labels_never_stop_a_run(pending, last, num_more):
    more = pending.model_copy(
        update={"num_labels": pending.num_labels + num_more, "shard_keys": (*pending.shard_keys, "t99")}
    )
    if isinstance(plan(pending, last=last), Trigger):
        assert isinstance(plan(more, last=last), Trigger)


@given(BACKLOGS, LAST_RUNS)
def test_a_green_no_is_never_repeated_on_the_same_labels(pending, last):
    first = plan(pending, last=last)
    if isinstance(first, Trigger):
        ended = LastRun(name="r", trigger=first, end=RunEnd(state="SUCCEEDED", at=NOON))
        assert isinstance(plan(pending, last=ended), Skip)
