"""What holds back a run that is due, until when, and what a person may go past."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ratchet.core.labels.backlog import Backlog
from ratchet.core.runs import (
    CodeState,
    LastRun,
    Rival,
    RunEnd,
    RunStart,
    Situation,
    Skip,
    Trigger,
    TriggerPolicy,
    explain,
    plan_request,
    plan_tick,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""A Friday."""
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=length_s) for length_s in (1, 60, 3600, 86_400))
DUE = Backlog(watermark="", num_labels=300, shard_keys=("pets/a", "pets/b"))
NIGHTS = {"open": [{"from": "22:00", "to": "06:00"}]}


def run(began: timedelta, ended: timedelta | None) -> RunStart:
    """Both so long before noon."""
    return RunStart(at=NOON - began, ended_at=None if ended is None else NOON - ended)


def situation(fields: dict[str, Any], **given: Any) -> Situation:
    known: dict[str, Any] = {
        "backlog": DUE,
        "task": "pets",
        "policy": TriggerPolicy.model_validate(fields),
        "policy_digest": "p",
        **given,
    }
    return Situation(**known)


def plan(fields: dict[str, Any], now: datetime = NOON, **given: Any) -> Trigger | Skip:
    return plan_tick(situation(fields, **given), now=now)


@pytest.mark.parametrize(
    ("fields", "starts", "not_before"),
    [
        pytest.param({"cooldown_s": 3600}, [run(2 * HOUR, HOUR)], None, id="cooled-down"),
        pytest.param({"cooldown_s": 3600}, [run(2 * HOUR, HOUR - SECOND)], NOON + SECOND, id="a-second-short"),
        pytest.param(
            {"cooldown_s": 3600}, [run(HOUR, HOUR / 2), run(DAY, HOUR / 4)], NOON + HOUR * 3 / 4, id="the-last-to-end"
        ),
        pytest.param({"runs_per_day_max": 2}, [run(HOUR, HOUR)], None, id="one-of-two"),
        pytest.param({"runs_per_day_max": 2}, [run(HOUR, HOUR)] * 2, NOON + 12 * HOUR, id="two-of-two"),
        pytest.param({"runs_per_day_max": 1}, [run(12 * HOUR, HOUR)], NOON + 12 * HOUR, id="began-at-midnight"),
        pytest.param({"runs_per_day_max": 1}, [run(12 * HOUR + SECOND, HOUR)], None, id="began-yesterday"),
        pytest.param(
            {"runs_per_day_max": 1, "time_zone": "Asia/Tokyo"},
            [run(21 * HOUR, HOUR)],
            NOON + 3 * HOUR,
            id="its-own-day",
        ),
        pytest.param({"run_minutes_per_day_max": 60}, [run(2 * HOUR, HOUR + SECOND)], None, id="59-minutes"),
        pytest.param({"run_minutes_per_day_max": 60}, [run(2 * HOUR, HOUR)], NOON + 12 * HOUR, id="60-minutes"),
        pytest.param(
            {"run_minutes_per_day_max": 60}, [run(13 * HOUR, 11 * HOUR)], NOON + 12 * HOUR, id="over-midnight"
        ),
        pytest.param(
            {"run_minutes_per_day_max": 61},
            [run(14 * HOUR, 11 * HOUR)],
            None,
            id="yesterday-s-minutes-were-yesterday-s",
        ),
        pytest.param({"hours": NIGHTS}, [], NOON + 10 * HOUR, id="closed-by-day"),
        pytest.param({"hours": NIGHTS, "time_zone": "Asia/Tokyo"}, [], NOON + HOUR, id="night-comes-earlier-there"),
        pytest.param(
            {"hours": NIGHTS, "cooldown_s": 20 * 3600}, [run(HOUR, HOUR)], NOON + 34 * HOUR, id="cool-when-closed-again"
        ),
        pytest.param(
            {"hours": NIGHTS, "runs_per_day_max": 1},
            [run(HOUR, HOUR)],
            NOON + 12 * HOUR,
            id="open-and-paid-at-midnight",
        ),
    ],
)
def test_a_limit_holds_until_its_moment(fields, starts, not_before):
    planned = plan(fields, starts=starts)
    if not_before is None:
        assert isinstance(planned, Trigger), planned.reason
        return
    assert isinstance(planned, Skip)
    assert planned.not_before == not_before, planned.reason
    assert "waiting: 300 new labels in 2 shards" in planned.reason
    assert isinstance(plan(fields, starts=starts, now=not_before), Trigger)
    assert isinstance(plan(fields, starts=starts, now=not_before - SECOND), Skip)


@pytest.mark.parametrize(
    ("fields", "starts", "code", "said"),
    [
        pytest.param(
            {"cooldown_s": 7200},
            [run(2 * HOUR, HOUR)],
            "cooldown",
            "the last run ended 2026-11-20 11:00 UTC, cooldown 7200 s, not before 2026-11-20 13:00 UTC;",
            id="cooldown",
        ),
        pytest.param(
            {"runs_per_day_max": 1},
            [run(HOUR, HOUR)],
            "budget",
            "1 of 1 runs a day started on 2026-11-20 (UTC), not before 2026-11-21 00:00 UTC;",
            id="runs-a-day",
        ),
        pytest.param(
            {"run_minutes_per_day_max": 30},
            [run(2 * HOUR, HOUR)],
            "budget",
            "60.0 of 30 run minutes a day used on 2026-11-20 (UTC), not before 2026-11-21 00:00 UTC;",
            id="minutes-a-day",
        ),
        pytest.param(
            {"hours": NIGHTS, "time_zone": "Europe/Berlin"},
            [],
            "closed_hours",
            "closed: open 22:00-06:00 Europe/Berlin, not before 2026-11-20 22:00 Europe/Berlin (2026-11-20 21:00 UTC);",
            id="hours",
        ),
    ],
)
def test_a_reason_holds_the_numbers_of_both_sides_and_the_moment(fields, starts, code, said):
    planned = plan(fields, starts=starts)
    assert isinstance(planned, Skip)
    assert planned.code == code
    assert said in planned.reason


def rival(
    task: str, *, priority: int = 100, running: bool = False, due: bool = False, started: timedelta | None = None
):
    started_at = None if started is None else NOON - started
    return Rival(task=task, priority=priority, is_running=running, is_due=due, last_started_at=started_at)


@pytest.mark.parametrize(
    ("fields", "others", "code"),
    [
        pytest.param({}, [rival("a", running=True), rival("z", due=True)], "threshold", id="no-limit"),
        pytest.param({"runs_at_once_max": 1}, [rival("a")], "threshold", id="nobody-runs"),
        pytest.param({"runs_at_once_max": 1}, [rival("a", running=True)], "no_slot", id="no-slot-left"),
        pytest.param({"runs_at_once_max": 2}, [rival("a", running=True)], "threshold", id="one-slot-left"),
        pytest.param({"runs_at_once_max": 1}, [rival("z", priority=101, due=True)], "yields", id="higher-goes-first"),
        pytest.param({"runs_at_once_max": 2}, [rival("z", priority=101, due=True)], "threshold", id="a-slot-for-each"),
        pytest.param({"runs_at_once_max": 1}, [rival("a", priority=99, due=True)], "threshold", id="lower-waits"),
        pytest.param({"runs_at_once_max": 1}, [rival("z", priority=101)], "threshold", id="higher-is-not-due"),
        pytest.param(
            {"runs_at_once_max": 1}, [rival("z", due=True, started=3 * HOUR)], "yields", id="equal-and-longer"
        ),
        pytest.param(
            {"runs_at_once_max": 1}, [rival("a", due=True, started=HOUR)], "threshold", id="equal-and-shorter"
        ),
        pytest.param({"runs_at_once_max": 1}, [rival("z", due=True)], "yields", id="equal-and-never-ran"),
        pytest.param({"runs_at_once_max": 1}, [rival("a", due=True, started=2 * HOUR)], "yields", id="a-tie-by-name"),
        pytest.param(
            {"runs_at_once_max": 1}, [rival("z", due=True, started=2 * HOUR)], "threshold", id="our-name-first"
        ),
        pytest.param(
            {"runs_at_once_max": 1, "priority": "experiment"},
            [rival("z", due=True, started=HOUR)],
            "yields",
            id="production-over-experiments",
        ),
    ],
)
def test_slots_and_turns(fields, others, code):
    planned = plan(fields, others=others, starts=[run(2 * HOUR, HOUR)])
    assert planned.code == code, planned.reason


def last_run(state: str | None, *, ended: timedelta = HOUR, num_failed_before: int = 0) -> LastRun:
    first = plan({})
    assert isinstance(first, Trigger)
    trigger = first.model_copy(update={"num_failed_before": num_failed_before})
    end = RunEnd.model_validate({"state": state, "at": NOON - ended}) if state else None
    return LastRun(name="run-7", trigger=trigger, end=end)


@pytest.mark.parametrize(
    ("fields", "last", "starts", "code"),
    [
        pytest.param({"cooldown_s": 7200}, last_run("FAILED"), [], "cooldown", id="a-retry-waits-for-the-cooldown"),
        pytest.param({"cooldown_s": 3600}, last_run("FAILED"), [], "retry", id="and-then-goes"),
        pytest.param({"retry_wait_s": 7200}, last_run("FAILED"), [], "retry_wait", id="the-longer-of-the-two"),
        pytest.param({"runs_per_day_max": 1}, last_run("FAILED"), [run(HOUR, HOUR)], "budget", id="inside-the-budget"),
        pytest.param({"hours": NIGHTS}, last_run("FAILED"), [], "closed_hours", id="inside-the-hours"),
        pytest.param({}, last_run("FAILED", num_failed_before=2), [], "failed_too_often", id="three-times"),
        pytest.param(
            {"retry_wait_s": 86_400}, last_run("FAILED", num_failed_before=1, ended=DAY), [], "retry", id="a-day"
        ),
        pytest.param({}, None, [run(HOUR, None)], "busy", id="a-run-that-nobody-saw-end"),
        pytest.param({}, last_run(None), [], "busy", id="claimed-and-not-ended"),
    ],
)
def test_retries_keep_to_every_limit(fields, last, starts, code):
    planned = plan(fields, last=last, starts=starts)
    assert planned.code == code, planned.reason


def final(summary: str = "finetune: NameError: name 'foo' is not defined", **fields: Any) -> LastRun:
    """A run that failed in a way that no retry mends, on the labels of DUE."""
    last = last_run("FAILED")
    assert last.end is not None
    end = last.end.model_copy(update={"is_retryable": False, "code_digest": "old", "summary": summary, **fields})
    trigger = last.trigger.model_copy(update={"newest_shard": DUE.shard_keys[-1]})
    return last.model_copy(update={"end": end, "trigger": trigger})


@pytest.mark.parametrize(
    ("given", "code"),
    [
        pytest.param({"last": final(), "code": CodeState(digest="old")}, "needs_change", id="the-same-again"),
        pytest.param({"last": final()}, "needs_change", id="code-that-is-not-here"),
        pytest.param({"last": final(code_digest="")}, "needs_change", id="code-that-was-not-known"),
        pytest.param({"last": final(), "code": CodeState(digest="new")}, "retry", id="the-code-was-edited"),
        pytest.param({"last": final(), "policy_digest": "q"}, "threshold", id="a-policy-was-changed"),
        pytest.param(
            {"last": final(), "backlog": DUE.model_copy(update={"shard_keys": (*DUE.shard_keys, "pets/c")})},
            "retry",
            id="new-labels",
        ),
        pytest.param({"last": final(is_retryable=True)}, "retry", id="a-server-was-down"),
        pytest.param({"code": CodeState(digest="d", problem="NameError")}, "broken_task", id="found-before-it-ran"),
        pytest.param({"code": CodeState(digest="d")}, "threshold", id="checked-and-well"),
    ],
)
def test_what_no_retry_can_mend_waits_for_a_change_or_a_person(given, code):
    planned = plan({}, **given)
    assert planned.code == code, planned.reason
    if code == "needs_change":
        assert "NameError: name 'foo'" in planned.reason
        assert "ratchet run retrain --task pets --again" in planned.reason


@pytest.mark.parametrize(
    ("fields", "given", "overrides"),
    [
        pytest.param({}, {}, (), id="nothing-in-the-way"),
        pytest.param({"hours": NIGHTS}, {}, ("closed_hours",), id="hours"),
        pytest.param(
            {"hours": NIGHTS, "cooldown_s": 7200, "runs_per_day_max": 1, "run_minutes_per_day_max": 1},
            {"starts": [run(2 * HOUR, HOUR)]},
            ("cooldown", "budget", "closed_hours"),
            id="several",
        ),
        pytest.param({"runs_at_once_max": 1}, {"others": [rival("a", running=True)]}, ("no_slot",), id="slots"),
        pytest.param({}, {"last": last_run("FAILED", num_failed_before=2)}, ("failed_too_often",), id="failures"),
        pytest.param({}, {"last": final()}, ("needs_change",), id="a-failure-that-repeats-itself"),
    ],
)
def test_a_person_goes_past_limits_and_is_told_which(fields, given, overrides):
    asked = plan_request(situation(fields, **given), again=True, now=NOON)
    assert isinstance(asked, Trigger), asked.reason
    assert asked.code == "by_hand"
    assert asked.overrides == overrides
    assert ("overriding the limits of the policy: " in asked.reason) == bool(overrides)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"in_flight": ["by-hand"]}, id="somebody-s-run"),
        pytest.param({"last": last_run(None)}, id="claimed"),
        pytest.param({"starts": [run(HOUR, None)]}, id="not-ended"),
    ],
)
def test_a_person_does_not_go_past_a_run_in_flight(given):
    asked = plan_request(situation({}, **given), again=True, now=NOON)
    assert isinstance(asked, Skip)
    assert asked.code == "busy"


def test_an_explanation_tells_of_every_gate():
    fields = {"hours": NIGHTS, "cooldown_s": 60, "runs_per_day_max": 3, "run_minutes_per_day_max": 90}
    explained = explain(situation({**fields, "runs_at_once_max": 2}, starts=[run(2 * HOUR, HOUR)]), now=NOON)
    said = {(check.code, check.passed): check.text for check in explained.checks}
    assert list(said) == [
        ("busy", True),
        ("short", True),
        ("broken_task", True),
        ("needs_change", True),
        ("failed_too_often", True),
        ("retry_wait", True),
        ("cooldown", True),
        ("budget", True),
        ("closed_hours", False),
        ("no_slot", True),
        ("yields", True),
    ]
    assert [check.code for check in explained.checks].count("budget") == 2, "runs, and minutes"
    assert "300 new labels" in said["short", True]
    assert "0 of 2 slots of all tasks taken" in said["no_slot", True]
    assert explained.outcome.code == "closed_hours"


def test_labels_that_grow_old_while_it_is_closed_start_a_run_at_the_opening():
    fields = {"max_age_s": 3600, "max_age_labels_min": 20, "hours": NIGHTS}
    few = Backlog(watermark="", num_labels=20, shard_keys=("pets/a",), oldest_at=NOON)
    planned = plan(fields, backlog=few)
    assert isinstance(planned, Skip)
    assert (planned.code, planned.not_before) == ("short", NOON + 10 * HOUR)
    started = plan(fields, backlog=few, now=NOON + 10 * HOUR)
    assert (type(started), started.code) == (Trigger, "max_age")
