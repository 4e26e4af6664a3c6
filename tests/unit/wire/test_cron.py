from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.cron import NotCron, parse_cron

MONDAY = datetime(2026, 1, 5, 8, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        pytest.param("0 0 9 * * *", MONDAY, datetime(2026, 1, 5, 9, tzinfo=UTC), id="daily-at-nine"),
        pytest.param(
            "0 0 9 * * *", datetime(2026, 1, 5, 9, tzinfo=UTC), datetime(2026, 1, 6, 9, tzinfo=UTC), id="later"
        ),
        pytest.param("*/15 * * * * ?", MONDAY, datetime(2026, 1, 5, 9, tzinfo=UTC), id="every-15-seconds"),
        pytest.param("0 0 9 ? * 2-6", MONDAY, datetime(2026, 1, 6, 9, tzinfo=UTC), id="weekdays-start-at-sunday-0"),
        pytest.param("0 0 9 ? * MON", MONDAY, datetime(2026, 1, 5, 9, tzinfo=UTC), id="weekday-by-name"),
        pytest.param("0 0 0 13 * FRI", MONDAY, datetime(2026, 1, 9, tzinfo=UTC), id="day-or-weekday"),
        pytest.param("0 30 1 1 jan,jul *", MONDAY, datetime(2026, 7, 1, 1, 30, tzinfo=UTC), id="months-by-name"),
        pytest.param("0 0 0 29 2 *", MONDAY, datetime(2028, 2, 29, tzinfo=UTC), id="leap-day"),
        pytest.param("0 0 0 31 2 *", MONDAY, None, id="never"),
        pytest.param("5/20 0 9 * * *", MONDAY, datetime(2026, 1, 5, 9, 0, 5, tzinfo=UTC), id="step-from-a-start"),
        pytest.param("@daily", MONDAY, datetime(2026, 1, 6, tzinfo=UTC), id="shorthand"),
        pytest.param("@every 1h30m", MONDAY, datetime(2026, 1, 5, 10, 29, 59, tzinfo=UTC), id="interval"),
    ],
)
def test_next_time_is_as_robfig_cron_has_it(expression: Any, after: Any, expected: Any) -> None:
    assert parse_cron(expression).next_after(after) == expected


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        pytest.param("0 9 * * 1", "Write '0 0 9 * * 1'", id="five-fields-are-shown-as-six"),
        pytest.param("* * * *", "has 4 fields", id="four-fields"),
        pytest.param("60 * * * * *", "is not a second", id="out-of-range"),
        pytest.param("* * * * * 7", "is not a weekday", id="sunday-is-0-not-7"),
        pytest.param("*/0 * * * * *", "is not a second", id="step-of-nothing"),
        pytest.param("* * 9-5 * * *", "is not a hour", id="backwards"),
        pytest.param("* x * * * *", "'x' is not a minute", id="not-a-number"),
        pytest.param("@every", "not known", id="every-what"),
        pytest.param("@every 0s", "not known", id="every-nothing"),
        pytest.param("@sometimes", "not known", id="unknown-shorthand"),
    ],
)
def test_bad_expression_is_refused_with_the_reason(expression: Any, told: Any) -> None:
    with pytest.raises(NotCron, match=r"(?s).*") as refused:
        parse_cron(expression)
    assert told in str(refused.value)


@given(
    st.integers(0, 2**31).map(lambda s: datetime.fromtimestamp(s, UTC)),
    st.sampled_from(["*/7 3 * * * *", "0 */5 8-18 * * 1-5"]),
)
def test_times_rise_and_match_their_own_expression(moment: Any, expression: Any) -> None:
    cron = parse_cron(expression)
    first = cron.next_after(moment)
    assert first is not None, "the expression has no end"
    second = cron.next_after(first)
    assert second is not None, "the expression has no end"
    assert moment < first < second
    assert first.second in cron.fields[0] and first.minute in cron.fields[1] and first.hour in cron.fields[2]


NINE_IN_BERLIN = "TZ=Europe/Berlin 0 0 9 * * *"
SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""The clocks of Berlin go from 02:00 to 03:00 in the next night."""
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC)
"""And here from 03:00 back to 02:00."""


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        pytest.param(NINE_IN_BERLIN, "UTC", MONDAY, ["01-06 08:00", "01-07 08:00"], id="its-own-zone"),
        pytest.param("CRON_TZ=Asia/Tokyo 0 0 9 * * *", "UTC", MONDAY, ["01-06 00:00"], id="the-other-prefix"),
        pytest.param("0 0 9 * * *", "Asia/Kolkata", MONDAY, ["01-06 03:30"], id="the-zone-of-the-server"),
        pytest.param(NINE_IN_BERLIN, "Asia/Tokyo", MONDAY, ["01-06 08:00"], id="its-own-goes-first"),
        pytest.param("TZ=Asia/Tokyo @daily", "UTC", MONDAY, ["01-05 15:00"], id="shorthand-in-a-zone"),
        pytest.param("TZ=Europe/Berlin 0 30 1 * * *", "UTC", SPRING, ["03-29 00:30", "03-29 23:30"], id="before-gap"),
        pytest.param("TZ=Europe/Berlin 0 30 2 * * *", "UTC", SPRING, ["03-30 00:30"], id="in-the-gap-not-that-day"),
        pytest.param("TZ=Europe/Berlin 0 0 * * * *", "UTC", SPRING.replace(hour=23, minute=59),
                     ["03-29 00:00", "03-29 01:00", "03-29 02:00"], id="hourly-through-the-gap"),
        pytest.param("TZ=Europe/Berlin 0 30 2 * * *", "UTC", AUTUMN, ["10-25 00:30", "10-25 01:30", "10-26 01:30"],
                     id="repeated-hour-twice"),
        pytest.param("TZ=Europe/Berlin 0 0 * * * *", "UTC", AUTUMN.replace(hour=23, minute=59),
                     ["10-25 00:00", "10-25 01:00", "10-25 02:00"], id="hourly-through-the-repeat"),
        pytest.param("TZ=Africa/Cairo 0 0 0 * * *", "UTC", datetime(2026, 4, 23, 12, tzinfo=UTC), ["04-24 21:00"],
                     id="a-midnight-that-is-skipped"),
    ],
)  # fmt: skip
def test_a_zone_has_its_own_clock(expression: str, zone: str, after: datetime, expected: list[str]) -> None:
    cron, times = parse_cron(expression, zone=zone), []
    for _ in expected:
        after = cron.next_after(after) or after
        times.append(f"{after:%m-%d %H:%M}")
    assert times == expected


@given(
    moment=st.integers(0, 366 * 24 * 60).map(lambda minutes: MONDAY + timedelta(minutes=minutes)),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo"]
    ),
    minute=st.integers(0, 59),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_the_next_slot_is_the_first_minute_at_which_the_clock_there_matches(moment, zone, minute, hours) -> None:
    expression = f"TZ={zone} 0 {minute} {','.join(map(str, sorted(hours)))} * * *"
    second = moment.replace(second=0, microsecond=0)
    minutes = (second + timedelta(minutes=n) for n in range(1, 4 * 24 * 60))
    clocks = ((at, at.astimezone(ZoneInfo(zone))) for at in minutes)
    assert parse_cron(expression).next_after(moment) == next(
        at for at, clock in clocks if clock.minute == minute and clock.hour in hours
    )


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "Berlin"])
def test_an_unknown_zone_is_refused_by_name(zone: str) -> None:
    with pytest.raises(NotCron, match="is not a time zone"):
        parse_cron(f"TZ={zone} 0 0 9 * * *")
    with pytest.raises(NotCron, match="five fields"):
        parse_cron("TZ=UTC 0 9 * * *")
