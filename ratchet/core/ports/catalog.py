"""Published pipelines, and what starts them by the clock."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict


class PipelineVersion(BaseModel):
    """One uploaded version of a pipeline."""

    model_config = ConfigDict(frozen=True)

    pipeline: str
    pipeline_id: str
    version_id: str
    name: str
    created_at: datetime | None = None


class Schedule(BaseModel):
    """A recurring run: a pipeline that starts by the clock."""

    model_config = ConfigDict(frozen=True)

    schedule_id: str
    name: str
    cron: str
    is_enabled: bool
    created_at: datetime | None = None
    description: str = ""


class PipelineCatalog(Protocol):
    """Published pipelines and what starts them by the clock. Raises what Pipelines raises."""

    def list_versions(self, pipeline: str) -> Sequence[PipelineVersion]:
        """Newest first; empty when there is no such pipeline."""

    def list_pipelines(self) -> Sequence[PipelineVersion]:
        """The newest version of each."""

    def fetch_spec(self, version: PipelineVersion) -> Mapping[str, Any]:
        """The compiled pipeline as the server keeps it."""

    def upload(self, pipeline: str, path: Path, *, version_name: str) -> PipelineVersion:
        """A new version of a pipeline, which is made when it is not there. Conflict when the version is."""

    def list_schedules(self) -> Sequence[Schedule]: ...
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
        """Run the newest version by a six-field cron; missed slots and those before `start_at` are not made up for."""

    def enable_schedule(self, schedule_id: str) -> None:
        """From its next slot on."""

    def delete_schedule(self, schedule_id: str) -> None: ...
