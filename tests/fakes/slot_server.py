"""A KFP server with a clock of its own: which slots its recurring runs start while somebody changes them.

Each call takes time. `dies_at` kills the caller, before or after the deed of that call; `before_call` lets a test
interleave several callers.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ratchet.core.errors import NotFound
from ratchet.core.ports import PipelineVersion, Schedule
from ratchet.core.runs.cron import next_slot

BEGAN_AT = datetime(2026, 1, 5, 8, 59, 30, tzinfo=UTC)


class Killed(BaseException):
    """kill -9: nothing catches it."""


class SlotServer:
    """`ports.PipelineCatalog`. makes_up: whether enabling starts the latest slot since the recurring run was created,
    as Kubeflow's controller does; else time while it was disabled holds no slot, as on the embedded server."""

    def __init__(self, *, makes_up: bool = False, call_s: float = 0.05) -> None:
        self.now = BEGAN_AT
        self.started: list[tuple[str, str, datetime]] = []
        """(schedule id, name, slot), in order."""
        self.dies_at: tuple[int, bool] | None = None
        """(number of the call, whether its deed is done)."""
        self.before_call: Callable[[], None] = lambda: None
        self.num_calls = 0
        self.version_id = "v1"
        self._makes_up, self.call_s = makes_up, call_s
        self._schedules: dict[str, Schedule] = {}
        self._looked_at: dict[str, datetime] = {}
        self._start_at: dict[str, datetime] = {}
        self._num_made = 0

    def clock(self) -> datetime:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for schedule in [each for each in self._schedules.values() if each.is_enabled]:
            self._start_due(schedule)

    def list_versions(self, pipeline: str) -> Sequence[PipelineVersion]:
        self._call()
        return [PipelineVersion(pipeline=pipeline, pipeline_id="p", version_id=self.version_id, name="1")]

    def list_pipelines(self) -> Sequence[PipelineVersion]:
        return self.list_versions("drift-monitor")

    def fetch_spec(self, version: PipelineVersion) -> Mapping[str, Any]:
        return {}

    def upload(self, pipeline: str, path: Path, *, version_name: str) -> PipelineVersion:
        return self.list_versions(pipeline)[0]

    def list_schedules(self) -> Sequence[Schedule]:
        self._call()
        return list(self._schedules.values())

    def create_schedule(
        self,
        pipeline: str,
        *,
        name: str,
        cron: str,
        parameters: Mapping[str, Any],
        description: str = "",
        is_enabled: bool = True,
        start_at: datetime | None = None,
    ) -> Schedule:
        def create() -> Schedule:
            self._num_made += 1
            made = Schedule(
                schedule_id=f"s{self._num_made}",
                name=name,
                cron=cron,
                is_enabled=is_enabled,
                created_at=self.now,
                description=description,
            )
            self._schedules[made.schedule_id] = made
            self._looked_at[made.schedule_id] = self.now
            if start_at is not None:
                self._start_at[made.schedule_id] = start_at
            return made

        return self._call(create)

    def enable_schedule(self, schedule_id: str) -> None:
        def enable() -> None:
            if schedule_id not in self._schedules:
                raise NotFound(schedule_id)
            enabled = self._schedules[schedule_id].model_copy(update={"is_enabled": True})
            self._schedules[schedule_id] = enabled
            if not self._makes_up:
                self._looked_at[schedule_id] = self.now
            self._start_due(enabled, only_newest=True)

        self._call(enable)

    def delete_schedule(self, schedule_id: str) -> None:
        def delete() -> None:
            if self._schedules.pop(schedule_id, None) is None:
                raise NotFound(schedule_id)

        self._call(delete)

    @property
    def num_enabled(self) -> int:
        return sum(each.is_enabled for each in self._schedules.values())

    def slots_of(self, name: str) -> list[datetime]:
        return [slot for _, of, slot in self.started if of == name]

    def _call(self, deed: Callable[[], Any] = lambda: None) -> Any:
        self.before_call()
        self.num_calls += 1
        dies = self.dies_at is not None and self.num_calls == self.dies_at[0]
        if dies and self.dies_at is not None and not self.dies_at[1]:
            raise Killed
        self.pass_time(self.call_s / 2)
        answer = deed()
        self.pass_time(self.call_s / 2)
        if dies:
            raise Killed
        return answer

    def _start_due(self, schedule: Schedule, *, only_newest: bool = False) -> None:
        due = []
        after = max(
            self._looked_at[schedule.schedule_id],
            self._start_at.get(schedule.schedule_id, BEGAN_AT),
        )
        while (slot := next_slot(schedule.cron, after, began_at=schedule.created_at)) and slot <= self.now:
            due.append((schedule.schedule_id, schedule.name, slot))
            after = slot
        self._looked_at[schedule.schedule_id] = self.now
        self.started += due[-1:] if only_newest else due
