"""When a recurring run is due. Pure: a trigger, the last slot and the clock in; the slot to run out.

Ported from Kubeflow Pipelines, `backend/src/crd/controller/scheduledworkflow/util/`: `scheduled_workflow.go`,
`periodic_schedule.go` and `cron_schedule.go`. All moments there are whole seconds, and so they are here. An interval
counts from the last slot, else from the start time, else from when the recurring run was made; a cron's slots lie after
that moment. Slots up to the end time, that second included, are run.
"""

from datetime import UTC, datetime
from math import floor
from typing import Any

from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.store import Document
from embedded.control_plane.kfp.wire import parse_time
from wire.cron import Cron, NotCron, parse_cron

_MAX_CONCURRENCY = 10
"""As the real backend has it."""
_LOOK_BACK_S = (60, 3_600, 86_400, 2_678_400, 31_622_400, 10**12)
"""A minute, an hour, a day, the longest month, the longest year, ever."""
_INT64_MAX, _DIGITS_MAX = 2**63 - 1, 20
_FIRST_YEAR, _LAST_YEAR = 1971, 9998
"""A day at either end is left for time zones."""


def check_recurring(body: Document) -> None:
    """DataRejected for a trigger or a limit that cannot be scheduled. A cron of its own zone is checked in that."""
    trigger = body.get("trigger") or {}
    schedule = _schedule_of(trigger)
    if "cron" in schedule:
        _cron_of(schedule)
    elif not 1 <= _interval_s(schedule) <= _INT64_MAX:
        found = f"{schedule.get('interval_second')!r:.40}"
        raise DataRejected(f"interval_second is {found}; it must be a whole number of seconds, at least 1.")
    for bound in ("start_time", "end_time"):
        _bound_s(schedule, bound)
    if not 1 <= max_concurrency_of(body) <= _MAX_CONCURRENCY:
        raise DataRejected(f"max_concurrency is {body.get('max_concurrency')!r}; it must be 1 to {_MAX_CONCURRENCY}.")


def max_concurrency_of(body: Document) -> int:
    try:
        return int(body.get("max_concurrency") or 1)
    except (TypeError, ValueError):
        return 0


def last_slot_of(recurring: Document) -> datetime | None:
    """The slot of a stored recurring run that ran last. Older stores say when it was made where none has run."""
    text = recurring.get("_last_slot")
    return None if not text or text == recurring["created_at"] else parse_time(text)


def due_slot(
    trigger: dict[str, Any],
    *,
    last_slot: datetime | None,
    made_at: datetime,
    now: datetime,
    catches_up: bool,
    zone: str = "UTC",
) -> datetime | None:
    """The slot to run now, or None. As `ScheduledWorkflow.getNextScheduledEpoch` has it.

    last_slot: the one that ran last, None when none has yet; then the schedule begins at its start time, which may lie
    before `made_at`, when the recurring run was made.
    catches_up: run each missed slot in turn; else one for all that were missed.
    zone: of the cron expressions that name none.
    """
    schedule = _schedule_of(trigger)
    base_s, now_s = _base_s(schedule, last_slot=last_slot, made_at=made_at), floor(now.timestamp())
    if "cron" in schedule:
        cron = _cron_of(schedule, zone=zone)
        slot_s = _due_of_cron(cron, schedule, base_s=base_s, now_s=now_s, catches_up=catches_up)
    else:
        slot_s = _due_of_interval(schedule, base_s=base_s, now_s=now_s, catches_up=catches_up)
    return None if slot_s is None or slot_s > now_s else _moment(slot_s)


def slot_before(
    trigger: dict[str, Any], *, last_slot: datetime | None, made_at: datetime, now: datetime
) -> datetime | None:
    """What `last_slot` has to be for no slot up to `now` to be due any more. An interval keeps its beat."""
    schedule = _schedule_of(trigger)
    base_s, now_s = _base_s(schedule, last_slot=last_slot, made_at=made_at), floor(now.timestamp())
    every_s = _interval_s(schedule)
    if "cron" in schedule:
        cron = _cron_of(schedule)
        if not cron.every_s:
            return _moment(max(base_s, now_s))
        every_s = cron.every_s
    num_missed = (now_s - base_s) // every_s
    return last_slot if num_missed <= 0 else _moment(base_s + num_missed * every_s)


def _cron_of(schedule: dict[str, Any], *, zone: str = "UTC") -> Cron:
    """zone: unless the expression names one."""
    try:
        return parse_cron(str(schedule["cron"]), zone=zone)
    except NotCron as error:
        raise DataRejected(str(error)) from None


def _due_of_interval(schedule: dict[str, Any], *, base_s: int, now_s: int, catches_up: bool) -> int | None:
    """`PeriodicSchedule.GetNextScheduledEpoch` and `GetNextScheduledEpochNoCatchup`.

    Without catching up, a schedule that missed more than one slot runs at once and counts on from there.
    """
    every_s, end_s = _interval_s(schedule), _bound_s(schedule, "end_time")
    start_s = _bound_s(schedule, "start_time")
    if start_s is not None and start_s > base_s:
        slot_s = start_s
    else:
        slot_s = base_s + every_s
        if end_s is not None and slot_s > end_s:
            return None
    if catches_up or now_s < slot_s + every_s:
        return slot_s
    return now_s if end_s is None else min(now_s, end_s)


def _due_of_cron(cron: Cron, schedule: dict[str, Any], *, base_s: int, now_s: int, catches_up: bool) -> int | None:
    """`CronSchedule.getNextScheduledTimeImp`: the first slot after the base, or the newest of those that are due."""
    start_s, end_s = _bound_s(schedule, "start_time"), _bound_s(schedule, "end_time")
    from_s = base_s if start_s is None else max(base_s, start_s)
    slot_s = _next_s(cron, from_s) if from_s < now_s else None
    if slot_s is None or slot_s > now_s or (end_s is not None and slot_s > end_s):
        return None
    last_s = now_s if end_s is None else min(now_s, end_s)
    return slot_s if catches_up else _newest_of_cron(cron, first_s=slot_s, last_s=last_s)


def _newest_of_cron(cron: Cron, *, first_s: int, last_s: int) -> int:
    """The last slot up to `last_s`; `first_s` is one. Looks back a minute, an hour …: a long gap costs little."""
    if cron.every_s:
        return first_s + (last_s - first_s) // cron.every_s * cron.every_s
    newest_s = first_s
    for back_s in _LOOK_BACK_S:
        from_s = max(first_s, last_s - back_s)
        slot_s = _next_s(cron, from_s)
        while slot_s is not None and slot_s <= last_s:
            newest_s, slot_s = slot_s, _next_s(cron, slot_s)
        if newest_s > first_s or from_s == first_s:
            break
    return newest_s


def _next_s(cron: Cron, after_s: int) -> int | None:
    slot = cron.next_after(_moment(after_s))
    return None if slot is None else int(slot.timestamp())


def _base_s(schedule: dict[str, Any], *, last_slot: datetime | None, made_at: datetime) -> int:
    """`lastJobEpoch`, else the start time, else `defaultStartEpoch`."""
    if last_slot is not None:
        return floor(last_slot.timestamp())
    start_s = _bound_s(schedule, "start_time")
    return floor(made_at.timestamp()) if start_s is None else start_s


def _bound_s(schedule: dict[str, Any], name: str) -> int | None:
    if not schedule.get(name):
        return None
    moment = parse_time(str(schedule[name]))
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise DataRejected(f"{name} is in the year {moment.year}; it must be from {_FIRST_YEAR} to {_LAST_YEAR}.")
    return floor(moment.timestamp())


def _moment(epoch_s: int) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def _schedule_of(trigger: Any) -> dict[str, Any]:
    if not isinstance(trigger, dict):
        raise DataRejected("trigger must be an object with cron_schedule or periodic_schedule.")
    cron, periodic = trigger.get("cron_schedule"), trigger.get("periodic_schedule")
    if bool(cron) == bool(periodic):
        raise DataRejected("A recurring run needs a trigger: either cron_schedule or periodic_schedule.")
    schedule = cron or periodic
    if not isinstance(schedule, dict) or (cron and not cron.get("cron")):
        raise DataRejected("cron_schedule needs a cron expression, such as '0 0 9 * * *'.")
    return {key: value for key, value in schedule.items() if key != "cron"} if periodic else schedule


def _interval_s(schedule: dict[str, Any]) -> int:
    """0 for what is no whole number; JSON has int64 as text or as a number."""
    value = schedule.get("interval_second")
    is_number = isinstance(value, int) and not isinstance(value, bool)
    is_text = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _DIGITS_MAX
    return int(value or 0) if is_number or is_text else 0
