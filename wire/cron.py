"""Six-field cron expressions as Kubeflow's scheduler reads them: `second minute hour day month weekday`. Pure.

Source: robfig/cron v1. Also `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly` and `@every 1h30m`. Weekdays count
from 0 = Sunday; when both day and weekday are restricted, either may match. Five fields are refused: the real parser
would take them for six with the last left out, and `0 9 * * 1` would run every hour at 9 past, in January.

The time zone is the server's (CRON_SCHEDULE_TIMEZONE of the real controller) unless the text begins with
`TZ=Area/City ` or `CRON_TZ=Area/City `. The slots are the moments at which a clock on the wall there shows the fields:
one that it skips in spring does not come that day, one that it shows twice in autumn comes twice, as with robfig/cron.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FIELDS = (("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_FIRST_OF = {"month": 1, "weekday": 0}
_SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_EVERY = re.compile(r"@every (?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)", re.DOTALL)
_DIGITS_MAX = 9
_YEARS_MAX = 5
"""robfig/cron gives up after the fifth year that follows, though around 2100 a 29 February may take eight."""


class NotCron(ValueError):
    """What is wrong with an expression or a time zone, and what to write instead."""


@dataclass(frozen=True)
class Cron:
    """Parsed. `every_s` > 0 means an interval; the fields are empty then."""

    fields: tuple[frozenset[int], ...] = ()
    is_any_day: bool = False
    """Day or weekday is `*` or `?`, so that both must match instead of either."""
    every_s: int = 0
    zone: ZoneInfo | None = None
    """None is UTC."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after `moment` (aware), to the second; None when there is none in the next five years."""
        assert moment.tzinfo is not None, "a schedule needs an aware time"
        start = moment.astimezone(UTC).replace(microsecond=0)
        if self.every_s:
            return start + timedelta(seconds=self.every_s)
        return next(self._times_from(start + timedelta(seconds=1)), None)

    def _times_from(self, moment: datetime) -> Iterator[datetime]:
        """moment: in UTC, as what is yielded. Every step is one of real time, so that none repeats or goes back."""
        seconds, minutes, hours, _, months, _ = self.fields
        end = datetime(moment.year + _YEARS_MAX + 1, 1, 1, tzinfo=UTC)
        while moment < end:
            clock = moment.astimezone(self.zone or UTC)
            if clock.month not in months or not self._is_day(clock):
                moment = _midnight_after(clock)
            elif clock.hour not in hours:
                moment += timedelta(seconds=3600 - clock.minute * 60 - clock.second)
            elif clock.minute not in minutes:
                moment += timedelta(seconds=60 - clock.second)
            else:
                if clock.second in seconds:
                    yield moment
                moment += timedelta(seconds=1)

    def _is_day(self, moment: datetime) -> bool:
        in_days = moment.day in self.fields[3]
        in_weekdays = moment.isoweekday() % 7 in self.fields[5]
        return in_days and in_weekdays if self.is_any_day else in_days or in_weekdays


def check_zone(name: str) -> ZoneInfo:
    """NotCron when there is no such time zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotCron(
            f"{name!r} is not a time zone. Write Area/City as in the IANA database, such as Europe/Berlin, or UTC."
        ) from None


@lru_cache(maxsize=1024)
def parse_cron(text: str, *, zone: str = "UTC") -> Cron:
    """NotCron says what is wrong, and for five fields what the six would be. zone: unless the text names one."""
    if named := _ZONE.fullmatch(text.strip()):
        zone, text = named[1], named[2]
    where = check_zone(zone)
    expression = _SHORTHANDS.get(text.strip(), text.strip())
    if expression.startswith("@"):
        return Cron(every_s=_parse_every(expression))
    parts = expression.split()
    if len(parts) == 5:
        raise NotCron(f"cron {text!r} has five fields; Kubeflow reads six, seconds first. Write '0 {' '.join(parts)}'.")
    if len(parts) != 6:
        raise NotCron(
            f"cron {text!r} has {len(parts)} fields; expected six: second minute hour day month weekday, such as "
            "'0 0 3 * * *' (each day at 03:00), with 'TZ=Europe/Berlin ' before them, or '@daily', '@every 6h'."
        )
    fields = tuple(
        frozenset(value for each in part.split(",") for value in _parse_range(each, *bounds))
        for part, bounds in zip(parts, _FIELDS, strict=True)
    )
    return Cron(fields=fields, is_any_day=any(parts[i][0] in "*?" for i in (3, 5)), zone=where)


def _midnight_after(clock: datetime) -> datetime:
    """When the next day begins there, in UTC; where the clock skips midnight, the first moment after the gap."""
    tomorrow = clock.date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=clock.tzinfo).astimezone(UTC)


def _parse_every(expression: str) -> int:
    match = _EVERY.fullmatch(expression)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total_s = hours * 3600 + minutes * 60 + seconds
    if total_s <= 0:
        raise NotCron(f"cron {expression!r} is not known. Write '@every 1h30m', '@daily', or six fields.")
    return total_s


def _parse_range(part: str, name: str, low: int, high: int) -> range:
    """`*`, `5`, `mon-fri`, `*/10`, `5/15`."""
    span, has_step, step = part.partition("/")
    if span in ("*", "?"):
        first, last = low, high
    else:
        start, has_end, end = span.partition("-")
        first = _number_of(start, name)
        last = _number_of(end, name) if has_end else (high if has_step else first)
    stride = _number_of(step, name) if has_step else 1
    if not low <= first <= last <= high or stride < 1:
        raise NotCron(f"cron: {part!r} is not a {name}; expected {low} to {high}.")
    return range(first, last + 1, stride)


def _number_of(text: str, name: str) -> int:
    names = _NAMES.get(name, ())
    if text.lower() in names:
        return names.index(text.lower()) + _FIRST_OF[name]
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        known = f", or {names[0]} to {names[-1]}" if names else ""
        raise NotCron(f"cron: {text!r} is not a {name} of the six fields; expected a number{known}.")
    return int(text)
