"""Published pipelines and recurring runs on a KFP server."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ratchet.adapters.kfp_client import KfpApi, equals, namespace_of
from ratchet.core.errors import NotFound
from ratchet.core.ports import PipelineVersion, Schedule
from ratchet.settings import Settings

_NEWEST_FIRST = "created_at desc"
_PAGE = 100


class KfpPipelineCatalog:
    """`ports.PipelineCatalog` over `kfp.Client`."""

    def __init__(self, api: KfpApi) -> None:
        self._api = api

    @classmethod
    def of(cls, settings: Settings) -> "KfpPipelineCatalog":
        return cls(KfpApi.of(settings))

    def list_versions(self, pipeline: str) -> Sequence[PipelineVersion]:
        pipeline_id = self._pipeline_id(pipeline)
        return [] if pipeline_id is None else self._versions(pipeline, pipeline_id, limit=None)

    def list_pipelines(self) -> Sequence[PipelineVersion]:
        found = self._api.pages(
            "pipelines",
            self._api.client.pipelines.pipeline_service_list_pipelines,
            "pipelines",
            page_size=_PAGE,
            **namespace_of(self._api),
        )
        newest = [self._versions(each.display_name, each.pipeline_id, limit=1) for each in found]
        return [version for versions in newest for version in versions]

    def fetch_newest(self, pipeline: str) -> PipelineVersion:
        """NotFound when the pipeline was never published."""
        pipeline_id = self._pipeline_id(pipeline)
        versions = [] if pipeline_id is None else self._versions(pipeline, pipeline_id, limit=1)
        if not versions:
            known = ", ".join(each.pipeline for each in self.list_pipelines()) or "none"
            raise NotFound(
                f"Pipeline {pipeline!r} is not published at {self._api.endpoint}; known: {known}. "
                "`ratchet pipelines publish` uploads those that are compiled."
            )
        return versions[0]

    def fetch_spec(self, version: PipelineVersion) -> Mapping[str, Any]:
        fetched = self._api.read(
            f"version {version.name} of pipeline {version.pipeline!r}",
            self._api.client.pipelines.pipeline_service_get_pipeline_version,
            pipeline_id=version.pipeline_id,
            pipeline_version_id=version.version_id,
        )
        return fetched.pipeline_spec or {}

    def upload(self, pipeline: str, path: Path, *, version_name: str) -> PipelineVersion:
        """The first version of a new pipeline is named like the pipeline: KFP's upload takes no other name."""
        pipeline_id = self._pipeline_id(pipeline)
        uploads = self._api.client.pipeline_uploads
        if pipeline_id is None:
            self._api.write(
                f"pipeline {pipeline!r}", uploads.upload_pipeline, str(path), name=pipeline, **namespace_of(self._api)
            )
            return self.fetch_newest(pipeline)
        made = self._api.write(
            f"version {version_name} of pipeline {pipeline!r}",
            uploads.upload_pipeline_version,
            str(path),
            name=version_name,
            pipelineid=pipeline_id,
        )
        return _version_of(pipeline, made)

    def list_schedules(self) -> Sequence[Schedule]:
        found = self._api.pages(
            "recurring runs",
            self._api.client.recurring_runs.recurring_run_service_list_recurring_runs,
            "recurring_runs",
            page_size=_PAGE,
            **namespace_of(self._api),
        )
        return [_schedule_of(each) for each in found]

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
        import kfp_server_api as kfp_models

        mode = kfp_models.RecurringRunMode
        newest = self.fetch_newest(pipeline)
        body = kfp_models.V2beta1RecurringRun(
            display_name=name,
            description=description,
            experiment_id=self._api.put_experiment(str(parameters.get("task", name))),
            mode=mode.ENABLE if is_enabled else mode.DISABLE,
            max_concurrency="1",
            no_catchup=True,
            trigger=kfp_models.V2beta1Trigger(
                cron_schedule=kfp_models.V2beta1CronSchedule(cron=cron, start_time=start_at)
            ),
            pipeline_version_reference=kfp_models.V2beta1PipelineVersionReference(
                pipeline_id=newest.pipeline_id, pipeline_version_id=newest.version_id
            ),
            runtime_config=kfp_models.V2beta1RuntimeConfig(parameters=dict(parameters)),
        )
        create = self._api.client.recurring_runs.recurring_run_service_create_recurring_run
        return _schedule_of(self._api.write(f"recurring run {name!r}", create, recurring_run=body))

    def enable_schedule(self, schedule_id: str) -> None:
        enable = self._api.client.recurring_runs.recurring_run_service_enable_recurring_run
        self._api.write(f"recurring run {schedule_id}", enable, recurring_run_id=schedule_id)

    def delete_schedule(self, schedule_id: str) -> None:
        delete = self._api.client.recurring_runs.recurring_run_service_delete_recurring_run
        self._api.write(f"recurring run {schedule_id}", delete, recurring_run_id=schedule_id)

    def _pipeline_id(self, name: str) -> str | None:
        found = self._api.pages(
            f"pipeline {name!r}",
            self._api.client.pipelines.pipeline_service_list_pipelines,
            "pipelines",
            filter=equals("display_name", name),
            **namespace_of(self._api),
        )
        return next((each.pipeline_id for each in found), None)

    def _versions(self, pipeline: str, pipeline_id: str, *, limit: int | None) -> list[PipelineVersion]:
        found = self._api.pages(
            f"versions of pipeline {pipeline!r}",
            self._api.client.pipelines.pipeline_service_list_pipeline_versions,
            "pipeline_versions",
            pipeline_id=pipeline_id,
            page_size=limit or _PAGE,
            sort_by=_NEWEST_FIRST,
        )
        return [_version_of(pipeline, each) for each in islice(found, limit)]


def _version_of(pipeline: str, version: Any) -> PipelineVersion:
    return PipelineVersion(
        pipeline=pipeline,
        pipeline_id=version.pipeline_id,
        version_id=version.pipeline_version_id,
        name=version.display_name,
        created_at=version.created_at,
    )


def _schedule_of(run: Any) -> Schedule:
    schedule = run.trigger.cron_schedule if run.trigger else None
    return Schedule(
        schedule_id=run.recurring_run_id,
        name=run.display_name,
        cron=schedule.cron if schedule else "",
        is_enabled=run.status == "ENABLED",
        created_at=run.created_at,
        description=run.description or "",
    )
