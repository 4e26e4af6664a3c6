"""What holds of every decision, whatever the policy, the labels, the runs and the time."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.shards import shard_key_of
from ratchet.core.runs import (
    Adaptive,
    Condition,
    Explanation,
    Hours,
    LastRun,
    Opening,
    Rival,
    RunEnd,
    RunStart,
    Situation,
    Skip,
    Trigger,
    TriggerPolicy,
    conditions,
    explain,
    plan_request,
    plan_tick,
    run_key_of,
    run_name_of,
    threshold_at,
)
from ratchet.core.runs.hours import WEEKDAYS, render_moment
from ratchet.core.runs.signals import SIGNAL_KINDS, Signal
from ratchet.core.runs.threshold import end_of

pytestmark = pytest.mark.slow

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""The day before Berlin and three weeks after New York change their clocks."""
MICROSECOND = timedelta(microseconds=1)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
CLASSES = ("a", "b")
CASES = settings(max_examples=120, deadline=None)

AGES_S = st.integers(0, 4 * 86_400)
MOMENTS = AGES_S.map(lambda age_s: NOON - timedelta(seconds=age_s))
COUNTS = st.integers(1, 60)
MINIMA = st.integers(1, 20) | st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 20), min_size=1)
LEAVES = st.one_of(
    COUNTS.map(lambda number: Condition(threshold=number)),
    COUNTS.map(lambda number: Condition(labels_min=number)),
    MINIMA.map(lambda minima: Condition(per_class_min=minima)),
    st.integers(1, 200_000).map(lambda age_s: Condition(max_age_s=age_s)),
    st.sampled_from(SIGNAL_KINDS).map(lambda kind: Condition(signal=kind)),
)
TREES = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.lists(below, min_size=1, max_size=3).map(lambda children: Condition(any=tuple(children))),
        st.lists(below, min_size=1, max_size=3).map(lambda children: Condition(all=tuple(children))),
    ),
    max_leaves=5,
).filter(lambda tree: tree.needs_labels)
PLAIN = st.builds(
    lambda threshold, minima, age: {"threshold": threshold, "per_class_min": minima, **age},
    COUNTS,
    st.none() | MINIMA,
    st.just({}) | st.builds(lambda s, n: {"max_age_s": s, "max_age_labels_min": n}, st.integers(1, 200_000), COUNTS),
)
CLOCKS = st.integers(0, 1440)
WINDOWS = (
    st.tuples(st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=4), CLOCKS, CLOCKS)
    .filter(lambda parts: parts[1] not in (parts[2], 1440))
    .map(lambda parts: Opening(days=tuple(parts[0]), opens=parts[1], closes=parts[2]))
)
ADAPTIVES = st.builds(
    Adaptive,
    drift_factor=st.floats(0.05, 1),
    serving_factor=st.floats(0.05, 1),
    label_quality_factor=st.floats(1, 10),
    signal_age_max_s=st.integers(1, 300_000),
)
LIMITS = st.fixed_dictionaries(
    {
        "adaptive": st.none() | ADAPTIVES,
        "failed_attempts_max": st.integers(1, 4),
        "retry_wait_s": st.integers(0, 7200),
        "cooldown_s": st.sampled_from([0, 0, 60, 7200, 100_000]),
        "runs_per_day_max": st.none() | st.integers(1, 3),
        "run_minutes_per_day_max": st.none() | st.integers(1, 300),
        "time_zone": st.sampled_from(ZONES),
        "hours": st.none() | st.lists(WINDOWS, min_size=1, max_size=2).map(lambda each: Hours(open=tuple(each))),
        "runs_at_once_max": st.none() | st.integers(1, 3),
        "priority": st.sampled_from([0, 50, 100]),
    }
)
POLICIES = st.builds(
    lambda what, limits: TriggerPolicy(**what, **limits), PLAIN | TREES.map(lambda tree: {"when": tree}), LIMITS
)
LENGTHS_S = st.integers(0, 90_000)
STARTS = st.lists(
    st.builds(
        lambda at, s, ends: RunStart(at=at, ended_at=at + timedelta(seconds=s) if ends < 7 else None),
        MOMENTS,
        LENGTHS_S,
        st.integers(0, 7),
    ),
    max_size=4,
).map(lambda runs: sorted(runs, key=lambda run: run.at, reverse=True))
SIGNALS = st.lists(
    st.builds(
        Signal,
        kind=st.sampled_from(SIGNAL_KINDS),
        is_bad=st.booleans(),
        value=st.floats(0, 1),
        limit=st.floats(0, 1),
        at=MOMENTS,
        text=st.just("said so"),
    ),
    max_size=4,
)
RIVALS = st.lists(
    st.builds(
        Rival,
        task=st.sampled_from(["alpha", "digits-2", "zeta"]),
        priority=st.sampled_from([0, 50, 100]),
        is_running=st.booleans(),
        is_due=st.booleans(),
        last_started_at=st.none() | MOMENTS,
    ),
    max_size=3,
    unique_by=lambda rival: rival.task,
)


@st.composite
def backlogs(draw: st.DrawFn) -> Backlog:
    number, landed = draw(st.integers(0, 120)), sorted(draw(st.lists(MOMENTS, min_size=1, max_size=3)))
    by_class = dict(zip(CLASSES, (draw(st.integers(0, number)), draw(st.integers(0, number))), strict=True))
    return Backlog(
        watermark=draw(st.sampled_from(["", "digits/w1", "digits/w2"])),
        num_labels=number,
        shard_keys=tuple(shard_key_of("digits", at, bytes([place]) * 10) for place, at in enumerate(landed)),
        num_by_class=by_class if draw(st.booleans()) else {},
        oldest_at=landed[0] if number else None,
    )


@st.composite
def last_runs(draw: st.DrawFn, backlog: Backlog) -> LastRun | None:
    """The last run, often one that started with the first of these very shards."""
    state = draw(st.sampled_from(["none", "running", "SUCCEEDED", "SKIPPED", "FAILED", "FAILED", "CANCELED"]))
    if state == "none":
        return None
    seen, attempt, digest = backlog.shard_keys[0], draw(st.integers(0, 5)), draw(st.sampled_from(["p0", "p1", "p1"]))
    watermark = draw(st.sampled_from([backlog.watermark, backlog.watermark, "digits/w0"]))
    key = run_key_of(task="digits", watermark=watermark, policy_digest=digest, attempt=attempt)
    trigger = Trigger(
        run_key=key,
        reason="test",
        task="digits",
        watermark=watermark,
        attempt=attempt,
        policy_digest=digest,
        num_labels=draw(st.integers(0, backlog.num_labels)),
        newest_shard=seen,
        shards_digest=backlog.digest_through(seen),
        num_failed_before=draw(st.integers(0, 3)),
        trains_accepted=draw(st.booleans()),
    )
    end = None if state == "running" else RunEnd.model_validate({"state": state, "at": draw(MOMENTS)})
    return LastRun(name=run_name_of("digits", key), trigger=trigger, end=end)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of a situation, and the time."""
    backlog = draw(backlogs())
    return {
        "backlog": backlog,
        "task": "digits",
        "policy": draw(POLICIES),
        "policy_digest": "p1",
        "last": draw(last_runs(backlog)),
        "in_flight": draw(st.sampled_from([(), (), (), ("by-hand",)])),
        "now": NOON,
        "starts": draw(STARTS),
        "signals": draw(SIGNALS),
        "others": draw(RIVALS),
        "classes": draw(st.sampled_from([(), CLASSES])),
    }


def situation_of(case: Mapping[str, Any]) -> Situation:
    return Situation(**{name: value for name, value in case.items() if name != "now"})


def plan(case: Mapping[str, Any]) -> Trigger | Skip:
    return plan_tick(situation_of(case), now=case["now"])


def gates(case: Mapping[str, Any]) -> Explanation:
    return explain(situation_of(case), now=case["now"])


def turns_old(case: Mapping[str, Any]) -> list[datetime]:
    """When the oldest label reaches each age that the policy names."""
    oldest_at = situation_of(case).waiting.oldest_at
    ages_s = conditions.ages_of(case["policy"].conditions)
    return [oldest_at + timedelta(seconds=age_s) for age_s in ages_s] if oldest_at is not None else []


def wall_of(case: Mapping[str, Any]) -> datetime:
    return case["now"].astimezone(ZoneInfo(case["policy"].time_zone))


@CASES
@given(cases())
def test_money_is_spent_only_when_every_gate_is_open(case):
    """Each limit counted here once more, apart from the code that decides."""
    planned = plan(case)
    assert planned.reason
    if isinstance(planned, Skip):
        return
    policy, now, last, starts = case["policy"], case["now"], case["last"], case["starts"]
    assert not case["in_flight"]
    assert last is None or last.end is not None, "never two at once"
    assert all(run.ended_at for run in starts), "never two at once"
    assert planned.num_failed_before < policy.failed_attempts_max
    assert not policy.cooldown_s or all(now >= run.ended_at + timedelta(seconds=policy.cooldown_s) for run in starts)
    zone = ZoneInfo(policy.time_zone)
    today = [run for run in starts if run.at.astimezone(zone).date() == wall_of(case).date()]
    assert policy.runs_per_day_max is None or len(today) < policy.runs_per_day_max
    wall = wall_of(case)
    assert policy.hours is None or any(window.holds(wall) for window in policy.hours.open)
    num_running = sum(rival.is_running for rival in case["others"])
    assert policy.runs_at_once_max is None or num_running < policy.runs_at_once_max
    waiting_higher = [
        each for each in case["others"] if each.is_due and not each.is_running and each.priority > policy.priority
    ]
    if policy.runs_at_once_max is not None:
        assert len(waiting_higher) < policy.runs_at_once_max - num_running, "a higher priority goes first"
    found = conditions.check_condition(policy.conditions, situation_of(case), now)
    assert found.passed or planned.trains_accepted
    assert case["backlog"].num_labels > 0 or planned.trains_accepted, "no labels, no money"


@CASES
@given(cases())
def test_the_outcome_is_what_the_gates_say(case):
    explained = gates(case)
    assert explained.outcome == plan(case) == plan(case)
    shut = [check.code for check in explained.checks if not check.passed]
    if isinstance(explained.outcome, Skip):
        assert explained.outcome.code == shut[0]
    else:
        assert not shut


@settings(max_examples=250, deadline=None)
@given(cases(), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_skip_names_the_first_moment_at_which_a_run_starts(case, shares):
    planned = plan(case)
    if isinstance(planned, Trigger):
        return
    named_at = planned.not_before
    horizon = named_at if named_at is not None else NOON + timedelta(days=20)
    turns = [check.not_before for check in gates(case).checks if check.not_before is not None]
    tried = [NOON + (horizon - MICROSECOND - NOON) * share for share in (*shares, 1.0)]
    for at in (*tried, *(turn for turn in turns if NOON < turn < horizon)):
        assert isinstance(plan({**case, "now": at}), Skip), f"it starts at {at}, before {named_at}"
    if named_at is not None:
        started = plan({**case, "now": named_at})
        assert isinstance(started, Trigger), started.reason
        assert render_moment(named_at) in planned.reason, "people read it too"


@CASES
@given(cases(), st.integers(1, 30 * 86_400))
def test_a_reason_stays_the_same_while_no_gate_changes(case, later_s):
    """The log of ticks folds equal reasons: there are no countdowns in them."""
    later_at = NOON + timedelta(seconds=later_s)
    now, later = gates(case), gates({**case, "now": later_at})
    turns = [check.not_before for check in now.checks if check.not_before is not None]
    turns += [end_of(signal, case["policy"]) for signal in case["signals"]]
    turns += turns_old(case)
    shut = [[check.code for check in each.checks if not check.passed] for each in (now, later)]
    if shut[0] and shut[0] == shut[1] and not any(NOON < turn <= later_at for turn in turns):
        assert later.outcome == now.outcome


@CASES
@given(cases(), st.integers(1, 400))
def test_more_labels_never_stop_a_run(case, num_more):
    backlog = case["backlog"]
    more = backlog.model_copy(
        update={
            "num_labels": backlog.num_labels + num_more,
            "num_by_class": {name: number + num_more for name, number in backlog.num_by_class.items()},
            "shard_keys": (*backlog.shard_keys, shard_key_of("digits", NOON, b"z" * 10)),
            "oldest_at": backlog.oldest_at or NOON,
        }
    )
    if isinstance(plan(case), Trigger):
        planned = plan({**case, "backlog": more})
        assert isinstance(planned, Trigger), planned.reason


@CASES
@given(cases(), st.integers(1, 200_000), st.integers(1, 100))
def test_old_labels_start_a_run_once_it_is_permitted(case, max_age_s, labels_min):
    limits = case["policy"].model_dump(
        exclude={"when", "threshold", "per_class_min", "max_age_s", "max_age_labels_min"}
    )
    policy = TriggerPolicy(
        **limits, threshold=1000, per_class_min=1000, max_age_s=max_age_s, max_age_labels_min=labels_min
    )
    case = {**case, "policy": policy}
    waiting = situation_of(case).waiting
    assume(waiting.num_labels >= labels_min)
    explained = gates(case)
    is_old = waiting.oldest_at is not None and waiting.oldest_at + timedelta(seconds=max_age_s) <= NOON
    is_permitted = all(check.passed for check in explained.checks if check.code != "short")
    assert isinstance(explained.outcome, Trigger) == (is_permitted and (is_old or situation_of(case).is_owed))


@given(st.integers(1, 100_000), ADAPTIVES, SIGNALS)
def test_findings_move_the_threshold_within_bounds(threshold, adaptive, signals):
    policy = TriggerPolicy(threshold=threshold, adaptive=adaptive)
    lowest, highest = adaptive.drift_factor * threshold, adaptive.label_quality_factor * threshold
    moved = threshold_at(policy, signals, at=NOON)
    assert moved is not None
    assert max(min(lowest, adaptive.serving_factor * threshold) - 1, 1) <= moved <= highest + 1
    assert moved >= threshold // 20
    assert threshold_at(policy, [each for each in signals if not each.is_bad], at=NOON) == threshold
    old = NOON + timedelta(seconds=adaptive.signal_age_max_s)
    assert threshold_at(policy, signals, at=old) == threshold, "an old finding counts no more"
    assert threshold_at(TriggerPolicy(threshold=threshold), signals, at=NOON) == threshold


@CASES
@given(cases())
def test_no_run_key_stands_for_two_runs(case):
    keys, last = set(), case["last"]
    if last is not None:
        keys.add(last.trigger.run_key)
    open_policy = TriggerPolicy(threshold=1, failed_attempts_max=1000, retry_wait_s=0)
    for number in range(4):
        planned = plan({**case, "policy": open_policy, "in_flight": (), "last": last, "others": ()})
        if isinstance(planned, Skip):
            return
        assert planned.run_key not in keys
        keys.add(planned.run_key)
        end = RunEnd(state="FAILED", at=NOON - timedelta(hours=1))
        last = LastRun(name=f"run-{number}", trigger=planned, end=end)


@CASES
@given(cases(), st.booleans())
def test_a_person_goes_past_every_limit_but_single_flight(case, again):
    asked = plan_request(situation_of(case), again=again, now=case["now"])
    checks = gates(case).checks
    is_busy = not checks[0].passed
    if isinstance(asked, Skip):
        assert is_busy or not again, "with --again only a run in flight says no"
        return
    assert not is_busy
    shut = [check for check in checks if not check.passed and check.code not in ("busy", "short")]
    assert set(asked.overrides) == {check.code for check in shut}
    assert all(check.text in asked.reason for check in shut), "it says what it went past"


@CASES
@given(cases())
def test_a_green_no_is_never_repeated_on_the_same_labels(case):
    planned = plan(case)
    if isinstance(planned, Trigger):
        ended = LastRun(name="r", trigger=planned, end=RunEnd(state="SUCCEEDED", at=NOON))
        again = plan({**case, "last": ended, "now": NOON + timedelta(days=400)})
        assert isinstance(again, Skip), again.reason
        assert again.not_before is None


@given(RIVALS, st.integers(1, 3), st.lists(st.none() | MOMENTS, min_size=4, max_size=4), st.integers(0, 3))
def test_tasks_never_wait_for_each_other_all_at_once(rivals, limit, started, seed):
    """Of all that are due one may always go, while a slot is free."""
    tasks = [
        Rival(task=f"t{number}", priority=(number * seed) % 3, is_running=False, is_due=True, last_started_at=at)
        for number, at in enumerate(started)
    ]
    going = []
    for rival in tasks:
        policy = TriggerPolicy(threshold=1, runs_at_once_max=limit, priority=rival.priority)
        starts = [RunStart(at=at, ended_at=at) for at in [rival.last_started_at] if at is not None]
        others = [each for each in tasks if each is not rival]
        backlog = Backlog(watermark="", num_labels=1, shard_keys=("a",))
        situation = Situation(backlog, task=rival.task, policy=policy, policy_digest="p", starts=starts, others=others)
        planned = plan_tick(situation, now=NOON)
        going += [rival.task] if isinstance(planned, Trigger) else []
    assert len(going) == min(limit, len(tasks)), "as many as there are slots, each of them known"
