"""When schedules of ours are due: cron expressions as `wire.cron` reads them. DataRejected says what is wrong. Pure."""

from datetime import datetime, timedelta

from ratchet.core.errors import DataRejected
from wire import cron as wire_cron


def check_cron(text: str) -> str:
    """The expression with single spaces, when it says what its author means. DataRejected says what does not."""
    cron = " ".join(text.split())
    _parse(cron)
    return cron


def check_zone(name: str) -> str:
    """The name, when there is such a time zone."""
    try:
        wire_cron.check_zone(name)
    except wire_cron.NotCron as error:
        raise DataRejected(str(error)) from None
    return name


def cron_in_zone(cron: str, zone: str) -> str:
    """The expression with its time zone in front; an interval (`@every 6h`) has none."""
    return cron if cron.startswith("@every") else f"TZ={zone} {cron}"


def next_slot(cron: str, after: datetime, *, began_at: datetime | None = None) -> datetime | None:
    """The first slot after a moment, in UTC; None when there is none in the next five years.

    began_at: when the schedule was made, from which on `@every 6h` counts; without it there is no telling.
    """
    parsed = _parse(cron)
    if not parsed.every_s:
        return parsed.next_after(after)
    if began_at is None:
        return None
    every = timedelta(seconds=parsed.every_s)
    # The first slot is one interval after it was made, also for whoever asks about an earlier time.
    return began_at + max((after - began_at) // every + 1, 1) * every


def _parse(text: str) -> wire_cron.Cron:
    try:
        return wire_cron.parse_cron(text)
    except wire_cron.NotCron as error:
        raise DataRejected(str(error)) from None
