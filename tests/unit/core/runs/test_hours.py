"""Opening hours by the clock on the wall, and calendar days."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet.core.runs import Hours, Opening
from ratchet.core.runs.hours import WEEKDAYS, day_of, is_open, next_opening, render_moment

BERLIN = "Europe/Berlin"
NIGHT = Hours.model_validate({"open": [{"from": "22:00", "to": "06:00"}]})
WORKDAY_NIGHT = Hours.model_validate(
    {"open": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "22:00", "to": "06:00"}]}
)
WEEKEND = Hours.model_validate({"open": [{"days": ["sat", "sun"], "from": "00:00", "to": "24:00"}]})
GAP = Hours.model_validate({"open": [{"from": "02:15", "to": "02:45"}]})
PAST_GAP = Hours.model_validate({"open": [{"from": "02:30", "to": "05:00"}]})
SUNDAY_GAP = Hours.model_validate({"open": [{"days": ["sun"], "from": "02:15", "to": "02:45"}]})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(text: str, zone: str = BERLIN, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("hours", "at", "expected"),
    [
        pytest.param(NIGHT, local("2026-11-20T21:59:59"), False, id="before-it-opens"),
        pytest.param(NIGHT, local("2026-11-20T22:00"), True, id="at-the-opening"),
        pytest.param(NIGHT, local("2026-11-21T00:00"), True, id="over-midnight"),
        pytest.param(NIGHT, local("2026-11-21T05:59:59"), True, id="last-second"),
        pytest.param(NIGHT, local("2026-11-21T06:00"), False, id="at-the-end"),
        pytest.param(WORKDAY_NIGHT, local("2026-11-21T03:00"), True, id="friday-night-ends-on-saturday"),
        pytest.param(WORKDAY_NIGHT, local("2026-11-21T22:00"), False, id="no-saturday-night"),
        pytest.param(WORKDAY_NIGHT, local("2026-11-23T03:00"), False, id="no-sunday-night-into-monday"),
        pytest.param(WEEKEND, local("2026-11-22T23:59:59"), True, id="whole-day-to-24"),
        pytest.param(WEEKEND, local("2026-11-23T00:00"), False, id="monday-is-no-weekend"),
        pytest.param(GAP, local("2026-10-25T02:30", fold=0), True, id="repeated-hour-first-time"),
        pytest.param(GAP, local("2026-10-25T02:30", fold=1), True, id="repeated-hour-second-time"),
        pytest.param(PAST_GAP, utc("2026-03-29T01:00"), True, id="the-clock-jumps-into-the-window"),
        pytest.param(PAST_GAP, utc("2026-03-29T00:59:59"), False, id="right-before-it-jumps"),
    ],
)
def test_open_is_what_the_clock_on_the_wall_says(hours, at, expected):
    assert is_open(hours, at, time_zone=BERLIN) is expected


@pytest.mark.parametrize(
    ("hours", "after", "expected"),
    [
        pytest.param(NIGHT, local("2026-11-20T12:00"), local("2026-11-20T22:00"), id="tonight"),
        pytest.param(WORKDAY_NIGHT, local("2026-11-21T06:00"), local("2026-11-23T22:00"), id="over-the-weekend"),
        pytest.param(WEEKEND, local("2026-11-23T00:00"), local("2026-11-28T00:00"), id="five-days-on"),
        pytest.param(NIGHT, local("2026-03-28T12:00"), utc("2026-03-28T21:00"), id="the-day-before-summer-time"),
        pytest.param(NIGHT, local("2026-03-29T12:00"), utc("2026-03-29T20:00"), id="summer-time-is-an-hour-earlier"),
        pytest.param(GAP, local("2026-03-28T12:00"), local("2026-03-30T02:15"), id="left-out-with-the-hour"),
        pytest.param(SUNDAY_GAP, local("2026-03-22T12:00"), local("2026-04-05T02:15"), id="left-out-for-a-fortnight"),
        pytest.param(PAST_GAP, local("2026-03-28T12:00"), utc("2026-03-29T01:00"), id="opens-when-the-clock-jumps"),
        pytest.param(GAP, utc("2026-10-25T00:45"), utc("2026-10-25T01:15"), id="opens-twice-in-a-repeated-hour"),
    ],
)
def test_the_next_opening(hours, after, expected):
    assert next_opening(hours, after, time_zone=BERLIN) == expected


@pytest.mark.parametrize(
    ("at", "zone", "begin", "hours_long"),
    [
        pytest.param("2026-11-22T12:00", "UTC", "2026-11-22T00:00", 24, id="utc"),
        pytest.param("2026-11-21T23:00", BERLIN, "2026-11-21T23:00", 24, id="local-midnight"),
        pytest.param("2026-11-21T22:59", BERLIN, "2026-11-20T23:00", 24, id="right-before-it"),
        pytest.param("2026-03-29T12:00", BERLIN, "2026-03-28T23:00", 23, id="short-day"),
        pytest.param("2026-10-25T12:00", BERLIN, "2026-10-24T22:00", 25, id="long-day"),
        pytest.param("2018-11-04T12:00", "America/Sao_Paulo", "2018-11-04T03:00", 23, id="a-day-without-midnight"),
        pytest.param("2011-12-31T12:00", "Pacific/Apia", "2011-12-31T10:00", 24, id="after-a-day-that-was-left-out"),
    ],
)
def test_a_calendar_day(at, zone, begin, hours_long):
    assert day_of(utc(at), time_zone=zone) == (utc(begin), utc(begin) + timedelta(hours=hours_long))


@pytest.mark.parametrize(
    ("window", "said"),
    [
        pytest.param({"from": "08:00", "to": "08:00"}, "never opens: for whole days", id="no-length"),
        pytest.param({"from": "24:00", "to": "06:00"}, "never opens", id="begins-after-the-day"),
        pytest.param({"days": [], "from": "08:00", "to": "09:00"}, "days is empty", id="no-day"),
        pytest.param({"from": "8 am", "to": "09:00"}, "write 'HH:MM'", id="no-clock"),
        pytest.param({"from": "25:00", "to": "09:00"}, "write 'HH:MM'", id="no-such-hour"),
        pytest.param({"from": "22:60", "to": "09:00"}, "write 'HH:MM'", id="no-such-minute"),
    ],
)
def test_hours_that_mean_nothing_are_refused(window, said):
    with pytest.raises(ValidationError, match=said):
        Opening.model_validate(window)


@pytest.mark.parametrize("text", ["{from: 22:00, to: 06:00}", "{from: '22:00', to: '6:00'}", "{from: 22:00, to: 6:00}"])
def test_an_unquoted_time_of_yaml_is_understood(text):
    """YAML 1.1 reads 22:00 as the number 22 * 60, and 06:00 as text."""
    assert Opening.model_validate(yaml.safe_load(text)) == NIGHT.open[0]


def test_a_moment_is_named_in_both_clocks():
    assert render_moment(utc("2026-11-22T03:00")) == "2026-11-22 03:00 UTC"
    assert render_moment(utc("2026-11-22T03:00"), time_zone=BERLIN) == (
        "2026-11-22 04:00 Europe/Berlin (2026-11-22 03:00 UTC)"
    )
    assert render_moment(utc("2026-11-22T03:00:00.000001")) == "2026-11-22 03:00:01 UTC", "never too early"


ZONES = [
    "UTC",
    BERLIN,
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
]
MOMENTS = st.integers(0, 30 * 366 * 86_400).map(lambda seconds: utc("2009-01-01") + timedelta(seconds=seconds))
CLOCKS = st.integers(0, 24 * 60)
WINDOWS = (
    st.tuples(st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=3), CLOCKS, CLOCKS)
    .filter(lambda parts: parts[1] not in (parts[2], 24 * 60))
    .map(lambda parts: Opening(days=tuple(parts[0]), opens=parts[1], closes=parts[2]))
)
HOURS = st.lists(WINDOWS, min_size=1, max_size=3).map(lambda windows: Hours(open=tuple(windows)))


@pytest.mark.slow
@settings(max_examples=150)
@given(HOURS, MOMENTS, st.sampled_from(ZONES), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_nothing_is_open_between_closing_and_the_next_opening(hours, at, zone, shares):
    if is_open(hours, at, time_zone=zone):
        return
    opens_at = next_opening(hours, at, time_zone=zone)
    assert opens_at is not None
    assert opens_at > at
    assert is_open(hours, opens_at, time_zone=zone)
    for share in (*shares, 1.0):
        between = at + (opens_at - timedelta(microseconds=1) - at) * share
        assert not is_open(hours, between, time_zone=zone)


@given(MOMENTS, st.sampled_from(ZONES))
def test_days_follow_each_other_without_a_gap(at, zone):
    begin, end = day_of(at, time_zone=zone)
    assert begin <= at < end
    assert day_of(end, time_zone=zone)[0] == end
    assert day_of(begin, time_zone=zone) == (begin, end)
