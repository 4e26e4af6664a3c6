"""Cron expressions as Kubeflow reads them: six fields, seconds first, and a time zone before them. Pure.

Source: robfig/cron v1. `TZ=Area/City ` (or `CRON_TZ=`) at the beginning says whose clock on the wall is meant; what
that clock skips in spring does not come that day, what it shows twice in autumn comes twice. When both day and weekday
are restricted, either may match.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ratchet.core.errors import DataRejected

_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.+)", re.DOTALL)
_EVERY = re.compile(r"@every (?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_RANGES = (("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_FIRST_OF = {"month": 1, "weekday": 0}
_YEARS_MAX = 5


@dataclass(frozen=True)
class Slots:
    """When a schedule is due: six sets of numbers and a clock, or an interval."""

    fields: tuple[frozenset[int], ...] = ()
    is_either_day: bool = False
    """Day and weekday are both restricted: either may match."""
    zone: ZoneInfo | None = None
    every_s: int = 0


def check_cron(text: str) -> str:
    """The expression with single spaces, when it says what its author means. DataRejected says what does not.

    Five fields are refused, because Kubeflow's parser takes them for six with the last left out: `0 9 * * 1` is there
    every hour at 9 past, in January.
    """
    cron = " ".join(text.split())
    parse_cron(cron)
    return cron


def check_zone(name: str) -> str:
    """The name, when there is such a time zone."""
    _zone(name)
    return name


def cron_in_zone(cron: str, zone: str) -> str:
    """The expression with its time zone in front; an interval (`@every 6h`) has none."""
    return cron if cron.startswith("@every") else f"TZ={zone} {cron}"


def next_slot(cron: str, after: datetime, *, began_at: datetime | None = None) -> datetime | None:
    """The first slot after a moment, in UTC; None when there is none in the next five years.

    began_at: when the schedule was made, from which on `@every 6h` counts; without it there is no telling.
    """
    slots = parse_cron(cron)
    if slots.every_s:
        if began_at is None:
            return None
        every = timedelta(seconds=slots.every_s)
        return began_at + max((after - began_at) // every + 1, 1) * every
    moment = after.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
    end = datetime(moment.year + _YEARS_MAX + 1, 1, 1, tzinfo=UTC)
    while moment < end:
        wait_s = _s_to_try_next(slots, moment.astimezone(slots.zone or UTC))
        if not wait_s:
            return moment
        moment += timedelta(seconds=wait_s)
    return None


def _s_to_try_next(slots: Slots, clock: datetime) -> int:
    """0 when the clock shows a slot; else how long no slot can come, in real time."""
    seconds, minutes, hours, days, months, weekdays = slots.fields
    in_day, in_weekday = clock.day in days, clock.isoweekday() % 7 in weekdays
    is_day = (in_day or in_weekday) if slots.is_either_day else (in_day and in_weekday)
    if clock.month not in months or not is_day:
        tomorrow = datetime.combine(clock.date() + timedelta(days=1), datetime.min.time(), tzinfo=clock.tzinfo)
        return int((tomorrow.astimezone(UTC) - clock.astimezone(UTC)).total_seconds())
    if clock.hour not in hours:
        return 3600 - clock.minute * 60 - clock.second
    if clock.minute not in minutes:
        return 60 - clock.second
    return 0 if clock.second in seconds else 1


@lru_cache(maxsize=256)
def parse_cron(text: str) -> Slots:
    """DataRejected says what is wrong, and for five fields what the six would be."""
    zone = _zone("UTC")
    rest = text.strip()
    if named := _ZONE.fullmatch(rest):
        zone, rest = _zone(named[1]), named[2].strip()
    if rest.startswith("@every"):
        return Slots(every_s=_parse_every(rest))
    parts = _SHORTHANDS.get(rest, rest).split()
    if len(parts) == len(_RANGES) - 1:
        raise DataRejected(
            f"{text!r} has five fields; Kubeflow reads six, seconds first, and would run at other times than you mean. "
            f"Write '0 {' '.join(parts)}'."
        )
    if len(parts) != len(_RANGES):
        raise DataRejected(
            f"{text!r} is not a schedule. Write six fields, 'second minute hour day month weekday', such as "
            "'0 0 3 * * *' (each day at 03:00), with 'TZ=Europe/Berlin ' before them, or '@daily', '@every 6h'."
        )
    fields = tuple(
        frozenset(value for part in field.split(",") for value in _parse_part(part, *bounds))
        for field, bounds in zip(parts, _RANGES, strict=True)
    )
    return Slots(fields=fields, is_either_day=not any(parts[at][0] in "*?" for at in (3, 5)), zone=zone)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DataRejected(
            f"{name!r} is not a time zone. Write Area/City as in the IANA database, such as Europe/Berlin, or UTC."
        ) from None


def _parse_every(text: str) -> int:
    match = _EVERY.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if not (every_s := hours * 3600 + minutes * 60 + seconds):
        raise DataRejected(f"{text!r} is not an interval. Write '@every 1h30m'; hours, minutes and seconds are known.")
    return every_s


def _parse_part(part: str, name: str, low: int, high: int) -> range:
    """`*`, `5`, `mon-fri`, `*/10`, `5/15`."""
    span, has_step, step = part.partition("/")
    first, has_end, end = span.partition("-")
    is_any = span in {"*", "?"}
    try:
        begin = low if is_any else _parse_number(first, name)
        last = high if is_any or (has_step and not has_end) else _parse_number(end if has_end else first, name)
        stride = _parse_number(step, name) if has_step else 1
    except ValueError:
        begin, last, stride = 0, -1, 0
    if not (low <= begin <= last <= high and stride > 0):
        raise DataRejected(f"{part!r} is not a {name} of a schedule of six fields; expected {low} to {high}.")
    return range(begin, last + 1, stride)


def _parse_number(text: str, name: str) -> int:
    names = _NAMES.get(name, ())
    if text.lower() in names:
        return names.index(text.lower()) + _FIRST_OF[name]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
