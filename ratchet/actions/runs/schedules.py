"""Bring the recurring runs of KFP to what configs/schedules.yaml says (core/runs/schedules.py has plan and proof)."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.ports import PipelineCatalog, Schedule
from ratchet.core.runs.schedules import (
    ScheduleChange,
    WantedSchedule,
    digest_in,
    mark_of,
    plan_schedules,
    rival_of,
)

Now = Callable[[], datetime]


class AppliedChange(BaseModel):
    """A change, and what came of it."""

    model_config = ConfigDict(frozen=True)

    change: ScheduleChange
    is_done: bool
    text: str
    schedule_id: str = ""
    error: str = ""
    """Why it cannot be done; the same file fails again until somebody does something."""


class Reconciled(BaseModel):
    model_config = ConfigDict(frozen=True)

    applied: tuple[AppliedChange, ...]
    retry_at: datetime | None
    """When to reconcile again, though the file has not changed: a slot is near, or somebody else was at work."""

    @property
    def errors(self) -> tuple[str, ...]:
        return tuple(each.error for each in self.applied if each.error)


def utc_now() -> datetime:
    return datetime.now(UTC)


def plan_from(catalog: PipelineCatalog, wanted: Sequence[WantedSchedule], *, now: datetime) -> list[ScheduleChange]:
    """What `reconcile_schedules` would do; nothing is changed."""
    version_ids = {}
    for pipeline in sorted({each.pipeline for each in wanted}):
        if versions := catalog.list_versions(pipeline):
            version_ids[pipeline] = versions[0].version_id
    return list(plan_schedules(wanted, catalog.list_schedules(), version_ids=version_ids, now=now))


def reconcile_schedules(
    catalog: PipelineCatalog, wanted: Sequence[WantedSchedule], *, now: Now = utc_now
) -> Reconciled:
    """One pass, which never waits. Safe to run at any time, by several at once, and again after a crash anywhere.

    A change that the server refuses is told in its `error` and does not keep the others from being made. Raises
    Unavailable when the server is not there: what was begun is finished by the next pass.
    """
    applied = tuple(_apply(catalog, change, now=now) for change in plan_from(catalog, wanted, now=now()))
    waits = [each.change.at for each in applied if each.change.kind == "wait" and each.change.at]
    if any(not each.is_done and not each.error and each.change.is_pending for each in applied):
        waits.append(now())
    return Reconciled(applied=applied, retry_at=min(waits, default=None))


def _apply(catalog: PipelineCatalog, change: ScheduleChange, *, now: Now) -> AppliedChange:
    if change.kind == "delete":
        _delete(catalog, change.old_ids)
    if change.kind == "blocked":
        error = f"{change.text}. Publish it: `ratchet pipelines publish`."
        return AppliedChange(change=change, is_done=False, text=change.text, error=error)
    if change.kind not in {"create", "replace"}:
        return AppliedChange(change=change, is_done=change.kind in {"keep", "delete"}, text=change.text)
    try:
        return _put(catalog, change, now=now)
    except (DataRejected, NotFound) as error:
        return AppliedChange(change=change, is_done=False, text=f"{change.name}: {error}", error=str(error))


def _put(catalog: PipelineCatalog, change: ScheduleChange, *, now: Now) -> AppliedChange:
    """Create disabled, delete all others of the name, enable: in this order no slot runs twice, wherever it ends."""
    wanted = change.wanted
    assert wanted is not None, "only wanted schedules are created"
    _delete(catalog, change.leftover_ids)
    made = catalog.create_schedule(
        wanted.pipeline,
        name=wanted.name,
        cron=wanted.cron_text,
        parameters=wanted.all_parameters,
        description=mark_of(wanted, version_id=change.version_id),
        is_enabled=False,
        start_at=change.starts_at,
    )
    others = _others_of(catalog, made)
    if wanted.enabled and rival_of(made, others) is not None:
        _delete(catalog, [made.schedule_id])
        return _left(change, "another process makes the same change at this moment")
    _delete(catalog, [each.schedule_id for each in others])
    if not wanted.enabled:
        return AppliedChange(change=change, is_done=True, text=change.text, schedule_id=made.schedule_id)
    if change.at is not None and now() >= change.at:
        _delete(catalog, [made.schedule_id])
        return _left(change, "its slot came meanwhile, so the change follows after it")
    try:
        catalog.enable_schedule(made.schedule_id)
    except NotFound:
        return _left(change, "another process changes it at this moment")
    return AppliedChange(change=change, is_done=True, text=change.text, schedule_id=made.schedule_id)


def _others_of(catalog: PipelineCatalog, made: Schedule) -> list[Schedule]:
    """The managed ones of its name, as they are after it was made."""
    return [
        each
        for each in catalog.list_schedules()
        if each.name == made.name and each.schedule_id != made.schedule_id and digest_in(each) is not None
    ]


def _delete(catalog: PipelineCatalog, schedule_ids: Sequence[str]) -> None:
    for schedule_id in schedule_ids:
        with suppress(NotFound):
            catalog.delete_schedule(schedule_id)


def _left(change: ScheduleChange, why: str) -> AppliedChange:
    return AppliedChange(change=change, is_done=False, text=f"{change.name}: {why}")
