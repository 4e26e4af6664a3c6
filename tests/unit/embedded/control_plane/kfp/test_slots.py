"""Slots of recurring runs, second for second as Kubeflow Pipelines has them.

The tables are worked out by hand from kubeflow/pipelines at 7b70c7b95f, folder
backend/src/crd/controller/scheduledworkflow/util: scheduled_workflow.go (`getNextScheduledEpoch`), periodic_schedule.go
(`GetNextScheduledEpoch`, `getNextScheduledEpoch`, `GetNextScheduledEpochNoCatchup`) and cron_schedule.go
(`getEffectiveLastJobTime`, `getNextScheduledTimeImp`). The rows "as upstream's test" are those of its
periodic_schedule_test.go and cron_schedule_test.go.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.slots import check_recurring, due_slot, last_slot_of, slot_before


def at(clock: str, day: int = 5) -> datetime:
    return datetime.fromisoformat(f"2026-01-{day:02}T{clock}+00:00")


def interval(seconds: Any = 60, **bounds: str) -> dict[str, Any]:
    return {"periodic_schedule": {"interval_second": str(seconds), **_bounds(bounds)}}


def cron(text: str, **bounds: str) -> dict[str, Any]:
    return {"cron_schedule": {"cron": text, **_bounds(bounds)}}


def _bounds(bounds: dict[str, str]) -> dict[str, str]:
    return {f"{name}_time": f"2026-01-05T{clock}Z" for name, clock in bounds.items()}


def slots_of(
    trigger: dict[str, Any], *, made: str, until: str, catches_up: bool = True, look_s: float = 1
) -> list[str]:
    """The slots that run when the schedule is looked at every `look_s` seconds from `made` on."""
    last, now, slots = None, at(made), []
    while now <= at(until):
        slot = due_slot(trigger, last_slot=last, made_at=at(made), now=now, catches_up=catches_up)
        if slot is not None:
            slots.append(f"{slot:%H:%M:%S}")
            last = slot
        now += timedelta(seconds=look_s)
    return slots


@pytest.mark.parametrize(
    ("trigger", "made", "until", "expected"),
    [
        pytest.param(interval(60), "10:00:00", "10:03:30", ["10:01:00", "10:02:00", "10:03:00"],
                     id="no-start-counts-from-creation"),
        pytest.param(interval(60), "10:00:00.999999", "10:02:30", ["10:01:00", "10:02:00"],
                     id="creation-counts-in-whole-seconds"),
        pytest.param(interval(60, start="10:10:20"), "10:09:00", "10:13:00", ["10:11:20", "10:12:20"],
                     id="the-first-slot-is-one-interval-after-the-start"),
        pytest.param(interval(60, start="10:10:20.900"), "10:09:00", "10:12:00", ["10:11:20"],
                     id="start-counts-in-whole-seconds"),
        pytest.param(interval(7, start="10:00:00", end="10:00:21"), "09:59:59", "10:01:00",
                     ["10:00:07", "10:00:14", "10:00:21"], id="the-end-is-included"),
        pytest.param(interval(7, start="10:00:00", end="10:00:20.999"), "09:59:59", "10:01:00",
                     ["10:00:07", "10:00:14"], id="one-second-short-of-the-end"),
        pytest.param(interval(7, end="10:00:14"), "10:00:00", "10:01:00", ["10:00:07", "10:00:14"], id="end-alone"),
        pytest.param(interval(60, start="10:00:00", end="10:00:59"), "09:59:00", "10:05:00", [],
                     id="an-end-before-the-first-slot"),
        pytest.param(interval(60, start="11:00:00", end="10:00:00"), "09:59:00", "11:05:00", [],
                     id="an-end-before-the-start"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("catches_up", [True, False])
def test_an_interval_that_is_looked_at_each_second_has_upstreams_slots(
    trigger: Any, made: str, until: str, expected: list[str], catches_up: bool
) -> None:
    assert slots_of(trigger, made=made, until=until, catches_up=catches_up) == expected


@pytest.mark.parametrize(
    ("trigger", "last", "now", "caught_up", "not_caught_up"),
    [
        # periodic_schedule_test.go, TestPeriodicSchedule_GetNextScheduledEpochNoCatchup
        pytest.param(interval(60, start="10:10:00", end="11:00:00"), "10:20:00", "10:20:30", None, None,
                     id="as-upstreams-test-not-yet"),
        pytest.param(interval(60, start="10:10:00", end="11:00:00"), "10:20:00", "10:21:00", "10:21:00", "10:21:00",
                     id="as-upstreams-test-exactly-now"),
        pytest.param(interval(60, start="10:10:00", end="11:00:00"), "10:20:00", "10:21:30", "10:21:00", "10:21:00",
                     id="as-upstreams-test-shortly-after"),
        pytest.param(interval(60, start="10:10:00", end="11:00:00"), "10:20:00", "10:30:00", "10:21:00", "10:30:00",
                     id="as-upstreams-test-behind-schedule-runs-now"),
        pytest.param(interval(60, start="10:10:00", end="11:00:00"), "10:20:00", "12:00:00", "10:21:00", "11:00:00",
                     id="as-upstreams-test-behind-and-past-the-end"),
        pytest.param(interval(60, start="10:10:00", end="11:00:00"), None, "10:11:00", "10:11:00", "10:11:00",
                     id="as-upstreams-test-no-run-yet-counts-from-the-start"),
        # by hand
        pytest.param(interval(60), "10:00:00", "10:01:59", "10:01:00", "10:01:00", id="one-second-before-two-missed"),
        pytest.param(interval(60), "10:00:00", "10:02:00", "10:01:00", "10:02:00", id="two-missed"),
        pytest.param(interval(60), "10:00:00", "10:02:17", "10:01:00", "10:02:17", id="now-is-off-the-beat"),
        pytest.param(interval(60), "10:00:00", "10:02:17.8", "10:01:00", "10:02:17", id="now-in-whole-seconds"),
        pytest.param(interval(60, start="09:00:00"), None, "10:05:00", "09:01:00", "10:05:00",
                     id="a-start-before-creation-is-made-up-for"),
        pytest.param(interval(60, end="11:00:00"), "11:00:00", "12:00:00", None, None, id="nothing-after-the-end"),
        pytest.param(interval(60, end="11:00:00"), "10:59:30", "12:00:00", None, None,
                     id="the-next-one-would-pass-the-end"),
        pytest.param(interval(60, start="10:30:00"), "10:00:00", "10:30:00", "10:30:00", "10:30:00",
                     id="a-last-slot-before-the-start-goes-to-the-start"),
    ],
)  # fmt: skip
def test_an_interval_that_missed_slots_does_as_upstream(
    trigger: Any, last: str | None, now: str, caught_up: str | None, not_caught_up: str | None
) -> None:
    """Made at 10:15:00."""
    for catches_up, expected in ((True, caught_up), (False, not_caught_up)):
        slot = due_slot(
            trigger,
            last_slot=last and at(last),  # type: ignore[arg-type]
            made_at=at("10:15:00"),
            now=at(now),
            catches_up=catches_up,
        )
        assert slot == (expected and at(expected)), f"catches up: {catches_up}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trigger", "made", "until", "expected"),
    [
        pytest.param(cron("0 */10 * * * *"), "10:00:00", "10:25:00", ["10:10:00", "10:20:00"],
                     id="a-slot-at-creation-is-none"),
        pytest.param(cron("0 */10 * * * *"), "09:59:59", "10:11:00", ["10:00:00", "10:10:00"], id="one-after-it-is"),
        pytest.param(cron("0 */10 * * * *"), "09:59:59.9", "10:01:00", ["10:00:00"], id="creation-in-whole-seconds"),
        pytest.param(cron("0 */10 * * * *", start="10:10:00"), "10:00:00", "10:35:00", ["10:20:00", "10:30:00"],
                     id="a-slot-at-the-start-is-none"),
        pytest.param(cron("0 */10 * * * *", start="10:09:59"), "10:00:00", "10:25:00", ["10:10:00", "10:20:00"],
                     id="one-second-after-the-start-is"),
        pytest.param(cron("0 */10 * * * *", end="10:20:00"), "10:00:00", "10:31:00", ["10:10:00", "10:20:00"],
                     id="a-slot-at-the-end-is"),
        pytest.param(cron("0 */10 * * * *", end="10:19:59.999"), "10:00:00", "10:21:00", ["10:10:00"],
                     id="one-second-after-the-end-is-none"),
        pytest.param(cron("@every 7s", start="10:00:03", end="10:00:17"), "10:00:00", "10:01:00",
                     ["10:00:10", "10:00:17"], id="every-counts-from-the-start"),
        pytest.param(cron("0 */10 * * * *", start="10:12:00", end="10:02:00"), "10:00:00", "10:21:00", [],
                     id="an-end-before-the-start"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("catches_up", [True, False])
def test_a_cron_that_is_looked_at_each_second_has_upstreams_slots(
    trigger: Any, made: str, until: str, expected: list[str], catches_up: bool
) -> None:
    assert slots_of(trigger, made=made, until=until, catches_up=catches_up) == expected


HOURLY = "0 0 * * * *"


@pytest.mark.parametrize(
    ("trigger", "last", "now", "caught_up", "not_caught_up"),
    [
        pytest.param(cron(HOURLY), "05:00:00", "05:59:59", None, None, id="not-yet"),
        pytest.param(cron(HOURLY), "05:00:00", "06:00:00", "06:00:00", "06:00:00", id="exactly-now"),
        pytest.param(cron(HOURLY), "05:00:00", "09:30:00", "06:00:00", "09:00:00", id="the-oldest-or-newest-missed"),
        pytest.param(cron(HOURLY, end="08:30:00"), "05:00:00", "23:00:00", "06:00:00", "08:00:00",
                     id="the-newest-before-the-end"),
        pytest.param(cron(HOURLY, end="08:00:00"), "05:00:00", "23:00:00", "06:00:00", "08:00:00",
                     id="the-newest-at-the-end"),
        pytest.param(cron(HOURLY, end="05:59:59"), "05:00:00", "23:00:00", None, None, id="nothing-after-the-end"),
        pytest.param(cron(HOURLY, start="02:00:00"), None, "06:30:00", "03:00:00", "06:00:00",
                     id="a-start-before-creation-is-made-up-for"),
        pytest.param(cron(HOURLY), None, "06:30:00", "05:00:00", "06:00:00", id="no-start-counts-from-creation"),
        pytest.param(cron("@every 7s"), "05:00:01", "05:00:31", "05:00:08", "05:00:29", id="every-keeps-its-beat"),
        pytest.param(cron("0 0 0 31 2 *"), "05:00:00", "23:00:00", None, None, id="never"),
    ],
)  # fmt: skip
def test_a_cron_that_missed_slots_does_as_upstream(
    trigger: Any, last: str | None, now: str, caught_up: str | None, not_caught_up: str | None
) -> None:
    """Made at 04:30:00."""
    for catches_up, expected in ((True, caught_up), (False, not_caught_up)):
        slot = due_slot(
            trigger,
            last_slot=last and at(last),  # type: ignore[arg-type]
            made_at=at("04:30:00"),
            now=at(now),
            catches_up=catches_up,
        )
        assert slot == (expected and at(expected)), f"catches up: {catches_up}"


def test_a_long_silence_costs_little() -> None:
    made, now = at("00:00:00"), at("00:00:00").replace(year=2036)
    for text, newest in (
        ("* * * * * *", now),
        ("0 0 0 1 1 *", datetime(2036, 1, 1, tzinfo=UTC)),
        ("0 0 0 29 2 *", datetime(2032, 2, 29, tzinfo=UTC)),
        ("@every 1s", now),
    ):
        assert due_slot(cron(text), last_slot=made, made_at=made, now=now, catches_up=False) == newest


@given(st.integers(1, 90), st.integers(0, 200), st.integers(0, 400), st.integers(0, 400))
def test_what_was_disabled_has_no_slot_and_the_beat_stays(every: int, start: int, made: int, now: int) -> None:
    noon = at("12:00:00")
    trigger = {
        "periodic_schedule": {
            "interval_second": str(every),
            "start_time": f"{noon + timedelta(seconds=start):%Y-%m-%dT%H:%M:%SZ}",
        }
    }
    made_at, enabled_at = noon + timedelta(seconds=made), noon + timedelta(seconds=made + now)
    last = slot_before(trigger, last_slot=None, made_at=made_at, now=enabled_at)
    assert due_slot(trigger, last_slot=last, made_at=made_at, now=enabled_at, catches_up=True) is None
    later = enabled_at + timedelta(seconds=max(start - made - now, 0) + every)
    slot = due_slot(trigger, last_slot=last, made_at=made_at, now=later, catches_up=True)
    assert slot is not None and slot > enabled_at
    assert (slot - noon - timedelta(seconds=start)).total_seconds() % every == 0


def test_a_store_of_an_older_version_has_no_last_slot_before_the_first() -> None:
    made = "2026-01-05T10:00:00.123456Z"
    assert last_slot_of({"created_at": made, "_last_slot": made}) is None
    assert last_slot_of({"created_at": made}) is None
    assert last_slot_of({"created_at": made, "_last_slot": "2026-01-05T10:01:00.000000Z"}) == at("10:01:00")


@pytest.mark.parametrize(
    "trigger",
    [
        None,
        [],
        {},
        {**interval(60), **cron(HOURLY)},
        interval(0),
        interval(-1),
        interval("1.5"),
        interval("9" * 19),
        interval("9" * 400),
        {"periodic_schedule": {"interval_second": True}},
        {"periodic_schedule": {"interval_second": 1.5}},
        {"periodic_schedule": {"interval_second": float("inf")}},
        {"periodic_schedule": {"interval_second": "60", "start_time": "soon"}},
        {"periodic_schedule": {"interval_second": "60", "end_time": "0001-01-01T00:00:00Z"}},
        {"cron_schedule": {"cron": HOURLY, "start_time": "9999-12-31T23:59:59-10:00"}},
        {"cron_schedule": {"cron": "0 9 * * 1"}},
        {"cron_schedule": []},
    ],
)
def test_a_trigger_that_cannot_be_scheduled_is_refused_when_it_is_made(trigger: Any) -> None:
    with pytest.raises(DataRejected):
        check_recurring({"trigger": trigger})


def test_the_longest_interval_is_no_error_later() -> None:
    trigger = interval(2**63 - 1, start="10:00:00", end="11:00:00")
    check_recurring({"trigger": trigger})
    assert slots_of(trigger, made="09:00:00", until="11:30:00", look_s=600, catches_up=False) == []
