"""When a recurring run is due. Pure: a trigger, the last slot and the clock in; the next slot out."""

from datetime import datetime, timedelta
from typing import Any

from embedded.control_plane.cron import parse_cron
from embedded.control_plane.kfp_wire import parse_time
from embedded.control_plane.store import Document
from ratchet.core.errors import DataRejected

_MAX_CONCURRENCY = 10
"""As the real backend has it."""
_LOOK_BACK = tuple(timedelta(seconds=s) for s in (60, 3_600, 86_400, 2_678_400, 31_622_400, 3e9))


def check_recurring(body: Document) -> None:
    """DataRejected for a trigger or a limit that cannot be scheduled. A cron of its own zone is checked in that."""
    trigger = body.get("trigger") or {}
    schedule = _schedule_of(trigger)
    if "cron" in schedule:
        parse_cron(str(schedule["cron"]))
    elif _interval_s(schedule) <= 0:
        raise DataRejected(f"interval_second is {schedule.get('interval_second')!r}; it must be a positive number.")
    for bound in ("start_time", "end_time"):
        if schedule.get(bound):
            parse_time(str(schedule[bound]))
    if not 1 <= max_concurrency_of(body) <= _MAX_CONCURRENCY:
        raise DataRejected(f"max_concurrency is {body.get('max_concurrency')!r}; it must be 1 to {_MAX_CONCURRENCY}.")


def max_concurrency_of(body: Document) -> int:
    try:
        return int(body.get("max_concurrency") or 1)
    except (TypeError, ValueError):
        return 0


def due_slot(
    trigger: dict[str, Any], *, last_slot: datetime, now: datetime, catches_up: bool, zone: str = "UTC"
) -> datetime | None:
    """The slot to run now, or None. last_slot: the one that ran last, or when the schedule began.

    catches_up: run each missed slot in turn; else only the newest of those that were missed.
    zone: of the cron expressions that name none.
    """
    slot = next_slot(trigger, last_slot, zone=zone)
    if slot is None or slot > now:
        return None
    return slot if catches_up else _newest_slot(trigger, first=slot, now=now, zone=zone)


def _newest_slot(trigger: dict[str, Any], *, first: datetime, now: datetime, zone: str) -> datetime:
    """The last slot up to `now`; `first` is one. Looks back a minute, an hour … so that a long gap costs little."""
    schedule = _schedule_of(trigger)
    last = min(now, parse_time(schedule["end_time"])) if schedule.get("end_time") else now
    if "cron" not in schedule:
        interval = timedelta(seconds=_interval_s(schedule))
        return first + (last - first) // interval * interval
    slot: datetime | None = first
    for back in _LOOK_BACK:
        slot = next_slot(trigger, max(first - timedelta(seconds=1), last - back), zone=zone)
        if slot is not None and slot <= last:
            break
    newest = first
    while slot is not None and slot <= last:
        newest, slot = slot, next_slot(trigger, slot, zone=zone)
    return newest


def next_slot(trigger: dict[str, Any], after: datetime, *, zone: str = "UTC") -> datetime | None:
    """The first slot after a moment, within the schedule's start and end."""
    schedule = _schedule_of(trigger)
    if schedule.get("start_time"):
        after = max(after, parse_time(schedule["start_time"]) - timedelta(seconds=1))
    if "cron" in schedule:
        slot = parse_cron(str(schedule["cron"]), zone=zone).next_after(after)
    else:
        slot = after + timedelta(seconds=_interval_s(schedule))
    if slot and schedule.get("end_time") and slot > parse_time(schedule["end_time"]):
        return None
    return slot


def _schedule_of(trigger: dict[str, Any]) -> dict[str, Any]:
    cron, periodic = trigger.get("cron_schedule"), trigger.get("periodic_schedule")
    if bool(cron) == bool(periodic):
        raise DataRejected("A recurring run needs a trigger: either cron_schedule or periodic_schedule.")
    schedule = cron or periodic
    if not isinstance(schedule, dict) or (cron and not cron.get("cron")):
        raise DataRejected("cron_schedule needs a cron expression, such as '0 0 9 * * *'.")
    return schedule


def _interval_s(schedule: dict[str, Any]) -> int:
    try:
        return int(schedule.get("interval_second") or 0)
    except (TypeError, ValueError):
        return 0
