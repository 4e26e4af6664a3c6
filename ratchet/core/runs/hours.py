"""Opening hours by the clock on the wall, and calendar days, in a time zone. Pure.

Open is whenever the clock on the wall of that zone shows a time inside a window. So an hour that a clock change
leaves out does not exist (a window inside it does not open that day, one that reaches past it opens when the clock
jumps), and an hour that a clock change repeats is open, or closed, both times.
"""

import difflib
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_A_DAY = 24 * 60
_DAYS_SEARCHED = 16
"""A window of one weekday opens within 7 days; within 14 when a clock change leaves it out once."""
_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)")
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


def check_time_zone(name: str) -> str:
    """The name, when the tz database knows it."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        close = difflib.get_close_matches(name, available_timezones(), n=3, cutoff=0.5)
        near = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(
            f"unknown time zone {name!r}: {near}Write a name of the tz database, such as Europe/Berlin or UTC"
        ) from error
    return name


def _parse_clock(value: Any) -> Any:
    """Minutes since midnight. An int is taken as such: that is what YAML 1.1 makes of an unquoted 22:00."""
    if not isinstance(value, str):
        return value
    match = _CLOCK.fullmatch(value.strip())
    minutes = int(match[1]) * 60 + int(match[2]) if match else -1
    if not 0 <= minutes <= _MINUTES_A_DAY:
        raise ValueError(f"{value!r} is not a time of day: write 'HH:MM' from '00:00' to '24:00'")
    return minutes


TimeZone = Annotated[str, AfterValidator(check_time_zone)]
ClockMinutes = Annotated[int, BeforeValidator(_parse_clock), Field(ge=0, le=_MINUTES_A_DAY)]


class Opening(BaseModel):
    """Some hours of some days; `to` before `from` reaches over midnight and belongs to the day that it began on."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    days: tuple[Weekday, ...] = WEEKDAYS
    """Days on which it begins; every day when left out."""
    opens: ClockMinutes = Field(alias="from")
    """On the wall, "HH:MM"."""
    closes: ClockMinutes = Field(alias="to")
    """On the wall, up to "24:00"; the window ends right before."""

    @model_validator(mode="after")
    def _check_it_opens(self) -> "Opening":
        if not self.days:
            raise ValueError("days is empty, so these hours never open: name some of mon … sun, or leave days out")
        if self.opens in (self.closes, _MINUTES_A_DAY):
            raise ValueError(
                f"from {_clock(self.opens)} to {_clock(self.closes)} never opens: for whole days write "
                "from: '00:00' and to: '24:00'"
            )
        return self

    def holds(self, wall: datetime) -> bool:
        """Whether the wall clock shows a time inside."""
        minute = wall.hour * 60 + wall.minute
        begins_today = WEEKDAYS[wall.weekday()] in self.days
        if self.opens < self.closes:
            return begins_today and self.opens <= minute < self.closes
        # On a Monday -1 is the last of the names, Sunday.
        began_yesterday = WEEKDAYS[wall.weekday() - 1] in self.days
        return (begins_today and minute >= self.opens) or (began_yesterday and minute < self.closes)

    def __str__(self) -> str:
        days = "" if len(set(self.days)) == len(WEEKDAYS) else f"{' '.join(self.days)} "
        return f"{days}{_clock(self.opens)}-{_clock(self.closes)}"


class Hours(BaseModel):
    """When runs may start by themselves; any window will do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    open: tuple[Opening, ...] = Field(min_length=1)

    def __str__(self) -> str:
        return ", ".join(map(str, self.open))


def is_open(hours: Hours, at: datetime, *, time_zone: str) -> bool:
    wall = at.astimezone(ZoneInfo(time_zone))
    return any(window.holds(wall) for window in hours.open)


def next_opening(hours: Hours, after: datetime, *, time_zone: str) -> datetime | None:
    """The first moment after `after`, UTC, at which a closed gate opens; None when it stays shut for two weeks.

    Between the moments tried here nothing changes: windows begin at them, or the clock jumps.
    """
    after = after.astimezone(UTC)
    for num_days in range(_DAYS_SEARCHED):
        from_ = after + num_days * _DAY
        for moment in sorted(_moments(hours, from_, ZoneInfo(time_zone))):
            if moment > after and is_open(hours, moment, time_zone=time_zone):
                return moment
    return None


def day_of(at: datetime, *, time_zone: str) -> tuple[datetime, datetime]:
    """Begin and end (UTC, end not in it) of the calendar day that holds `at`. Days follow each other without a gap."""
    zone = ZoneInfo(time_zone)
    day = at.astimezone(zone).date()
    while at < _midnight(day, zone):
        day -= _DAY
    # The wall may show yesterday's date again: until 2011 St. John's put its clock back at 00:01.
    while at >= _midnight(day + _DAY, zone):
        day += _DAY
    return _midnight(day, zone), _midnight(day + _DAY, zone)


def render_moment(at: datetime, *, time_zone: str = "UTC") -> str:
    """`2026-11-22 03:00 UTC`, or local time first where the zone is another. Rounded up to the second."""
    # Up: a moment that is told too early would find its gate still shut.
    at = (at + timedelta(microseconds=999_999)).replace(microsecond=0) if at.microsecond else at
    utc = f"{_day_and_time(at.astimezone(UTC))} UTC"
    if time_zone == "UTC":
        return utc
    return f"{_day_and_time(at.astimezone(ZoneInfo(time_zone)))} {time_zone} ({utc})"


def _moments(hours: Hours, from_: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """All moments within the day that begins at `from_` at which a closed gate can open."""
    until = from_ + _DAY
    if jump := _clock_change(from_, until, zone):
        yield jump
    first = from_.astimezone(zone).date() - _DAY
    # Samoa left out a whole day (2011-12-30): the next date may be the one after the next.
    for num_days in range(4):
        day = first + num_days * _DAY
        for window in hours.open:
            # Python adds to an aware time on its wall, also where the clock jumps in between.
            wall = datetime(day.year, day.month, day.day, tzinfo=zone) + window.opens * _MINUTE
            # Both moments of an hour that the clock repeats.
            for fold in (0, 1):
                moment = wall.replace(fold=fold).astimezone(UTC)
                if from_ <= moment <= until:
                    yield moment


def _clock_change(from_: datetime, until: datetime, zone: ZoneInfo) -> datetime | None:
    """The moment at which the zone's offset changes, if it does; whole seconds, as the tz database has them."""
    before = from_.astimezone(zone).utcoffset()
    if before == until.astimezone(zone).utcoffset():
        return None
    low, high = int(from_.timestamp()), int(until.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _day_and_time(at: datetime) -> str:
    return at.isoformat(" ")[: len("2026-11-22 03:00:00" if at.second else "2026-11-22 03:00")]
