"""Which recurring runs there should be, as configs/schedules.yaml says it, and the steps from those there are. Pure.

A managed recurring run carries the digest of what it was made from in its description; one without such a mark was
made by hand and is never touched. KFP cannot change a recurring run, so a change is a new one and the end of the old:

    create the new one disabled → delete all others of its name → enable it

The order is the proof that no slot runs twice: whoever enables one has, after creating it, deleted every other that
there was, and whoever creates another later sees this one and does the same. It also keeps the old one if the server
refuses the new one. No slot is lost because a change waits for a stretch of SLOT_FREE without any; after a crash in
the middle the next reconcile finds a disabled one, deletes it and makes the change from the start.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ratchet.core.digest import digest_of
from ratchet.core.errors import DataRejected
from ratchet.core.ports import Schedule
from ratchet.core.runs.cron import check_cron, check_zone, cron_in_zone, next_slot

SLOT_FREE = timedelta(seconds=10)
"""So long before the next slot, at least, a change begins: it takes some 0.1 s."""
STARTED_WITHIN = timedelta(seconds=2)
"""So long after a slot the server has started its run."""
CROWDED_START = timedelta(seconds=3)
"""Slots less than 10 s apart leave no such stretch: the new one begins so much later; slots before that are lost."""
_MARK = re.compile(r"\[ratchet-schedule ([0-9a-f]{64})\]")


class WantedSchedule(BaseModel):
    """One entry of configs/schedules.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    pipeline: str = Field(min_length=1)
    task: str
    cron: str
    """Six fields, seconds first; `@daily`; `@every 6h`."""
    time_zone: str = "UTC"
    """Whose clock on the wall the cron means: Europe/Berlin."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Of the pipeline, besides `task`."""
    enabled: bool = True

    @field_validator("cron")
    @classmethod
    def _check_cron(cls, text: str) -> str:
        if "TZ=" in text:
            raise ValueError("write the time zone as time_zone")
        return _checked(check_cron, text)

    @field_validator("time_zone")
    @classmethod
    def _check_zone(cls, name: str) -> str:
        return _checked(check_zone, name)

    @property
    def cron_text(self) -> str:
        """As KFP gets it."""
        return cron_in_zone(self.cron, self.time_zone)

    @property
    def all_parameters(self) -> dict[str, Any]:
        return {**self.parameters, "task": self.task}


class ScheduleFile(BaseModel):
    """configs/schedules.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedules: tuple[WantedSchedule, ...] = ()

    @model_validator(mode="after")
    def _check_names(self) -> "ScheduleFile":
        names = [wanted.name for wanted in self.schedules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two schedules are named {twice[0]!r}")
        return self


ChangeKind = Literal["create", "replace", "delete", "keep", "wait", "blocked"]


class ScheduleChange(BaseModel):
    """What to do about one name."""

    model_config = ConfigDict(frozen=True)

    kind: ChangeKind
    name: str
    text: str
    wanted: WantedSchedule | None = None
    version_id: str = ""
    """Of the pipeline, which a recurring run is bound to."""
    old_ids: tuple[str, ...] = ()
    """Of the recurring runs that go."""
    leftover_ids: tuple[str, ...] = ()
    """Of those among them that are disabled: what a change that broke off left behind, so they go first."""
    at: datetime | None = None
    """wait: when to look again. create, replace: by when it must be enabled, or never."""
    starts_at: datetime | None = None
    """Slots before this are none of the new one's."""

    @property
    def is_pending(self) -> bool:
        return self.kind in {"create", "replace", "delete"}


def mark_of(wanted: WantedSchedule, *, version_id: str) -> str:
    """The description of its recurring run: for people, and the digest that tells whether it is still the one."""
    return (
        f"Ratchet manages this recurring run from configs/schedules.yaml; edit that file. "
        f"[ratchet-schedule {schedule_digest(wanted, version_id=version_id)}]"
    )


def schedule_digest(wanted: WantedSchedule, *, version_id: str) -> str:
    return digest_of({**wanted.model_dump(mode="json"), "version_id": version_id})


def digest_in(schedule: Schedule) -> str | None:
    """None for a recurring run that was made by hand."""
    found = _MARK.search(schedule.description)
    return found[1] if found else None


def plan_schedules(
    wanted: Sequence[WantedSchedule], known: Sequence[Schedule], *, version_ids: Mapping[str, str], now: datetime
) -> tuple[ScheduleChange, ...]:
    """One change for each name that is wanted or managed, wanted ones first.

    version_ids: pipeline to its newest published version.
    """
    managed: dict[str, list[Schedule]] = {}
    for schedule in known:
        if digest_in(schedule) is not None:
            managed.setdefault(schedule.name, []).append(schedule)
    changes = [
        _plan_one(each, managed.pop(each.name, []), version_id=version_ids.get(each.pipeline), now=now)
        for each in wanted
    ]
    for name, group in sorted(managed.items()):
        text = f"{name} is no longer in the file"
        changes.append(ScheduleChange(kind="delete", name=name, text=text, old_ids=_ids_of(group)))
    return tuple(changes)


def _plan_one(
    wanted: WantedSchedule, group: Sequence[Schedule], *, version_id: str | None, now: datetime
) -> ScheduleChange:
    name = wanted.name
    if version_id is None:
        text = f"{name}: pipeline {wanted.pipeline!r} is not published; recurring runs of this name stay unchanged"
        return ScheduleChange(kind="blocked", name=name, text=text, wanted=wanted)
    digest = schedule_digest(wanted, version_id=version_id)
    right = [each for each in group if digest_in(each) == digest and each.is_enabled == wanted.enabled]
    if right:
        kept = min(right, key=_age_of)
        surplus = _ids_of(each for each in group if each is not kept)
        text = f"{name} matches the file" + (f"; {len(surplus)} duplicates are deleted" if surplus else "")
        kind: ChangeKind = "delete" if surplus else "keep"
        return ScheduleChange(kind=kind, name=name, text=text, wanted=wanted, old_ids=surplus)
    running = [each for each in group if each.is_enabled]
    soonest = _next_of(running, wanted, after=now)
    starts_at = None
    if running and soonest is not None and soonest - now < SLOT_FREE:
        again_at = soonest + STARTED_WITHIN
        following = _next_of(running, wanted, after=again_at)
        if following is None or following - again_at >= SLOT_FREE:
            text = f"{name} changes after its slot at {soonest:%H:%M:%S} UTC"
            return ScheduleChange(kind="wait", name=name, text=text, wanted=wanted, at=again_at)
        soonest = starts_at = now + CROWDED_START
    kind = "replace" if running else "create"
    return ScheduleChange(
        kind=kind,
        name=name,
        text=_text_of(kind, wanted),
        wanted=wanted,
        version_id=version_id,
        old_ids=_ids_of(group),
        leftover_ids=_ids_of(each for each in group if not each.is_enabled),
        at=soonest if running else None,
        starts_at=starts_at,
    )


def _next_of(running: Sequence[Schedule], wanted: WantedSchedule, *, after: datetime) -> datetime | None:
    """The first slot of those that run and of the one that is wanted."""
    slots = [next_slot(each.cron, after, began_at=each.created_at) for each in running if each.cron]
    if wanted.enabled:
        slots.append(next_slot(wanted.cron_text, after, began_at=after))
    return min((slot for slot in slots if slot is not None), default=None)


def rival_of(mine: Schedule, others: Collection[Schedule]) -> Schedule | None:
    """The one of several that were made for the same entry that stays instead of mine; None when mine does.

    One that is enabled already; of those that are not, the oldest, and of two of one moment that of the smaller id.
    """
    same = [each for each in others if digest_in(each) == digest_in(mine)]
    first = min([mine, *same], key=lambda each: (not each.is_enabled, _age_of(each)))
    return None if first is mine else first


def _text_of(kind: ChangeKind, wanted: WantedSchedule) -> str:
    state = "" if wanted.enabled else ", disabled"
    verb = {"create": "is new", "replace": "is replaced"}[kind]
    return f"{wanted.name} {verb}: {wanted.pipeline} of {wanted.task} at {wanted.cron_text}{state}"


def _ids_of(schedules: Any) -> tuple[str, ...]:
    return tuple(sorted(each.schedule_id for each in schedules))


def _age_of(schedule: Schedule) -> tuple[bool, float, str]:
    made = schedule.created_at
    return made is None, made.timestamp() if made else 0.0, schedule.schedule_id


def _checked(check: Any, text: str) -> str:
    try:
        return str(check(text))
    except DataRejected as error:
        raise ValueError(str(error)) from None
