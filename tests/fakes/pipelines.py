"""A KFP server in memory; it passes tests/contract/test_pipelines.py like the real client against a real server."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.ports import PipelineVersion, RunArtifact, RunState, RunTask, Schedule

BEGAN_AT = datetime(2026, 1, 1, tzinfo=UTC)


class FakePipelines:
    """`ports.Pipelines` and `ports.PipelineCatalog`. A run stays RUNNING until the test calls `finish`."""

    def __init__(self, published: Sequence[str] = ("retrain", "rollback", "rollout")) -> None:
        self._numbers = itertools.count(1)
        self._runs: dict[str, RunState] = {}
        self._experiment_of: dict[str, str] = {}
        self.parameters: dict[str, Mapping[str, Any]] = {}
        self.artifacts: dict[str, Sequence[RunArtifact]] = {}
        self.contents: dict[str, bytes] = {}
        """Bytes of artifacts by their uri."""
        self._versions: dict[str, list[tuple[PipelineVersion, Any]]] = {}
        self._schedules: dict[str, Schedule] = {}
        for name in published:
            self._add_version(name, name, {})

    def finish(self, run_id: str, state: str = "SUCCEEDED", error: str = "") -> None:
        ended = {"state": state, "error": error, "finished_at": self._now()}
        self._runs[run_id] = self.fetch_run(run_id).model_copy(update=ended)

    def forget(self, run_id: str) -> None:
        """What deleting a run in KFP does."""
        del self._runs[run_id]

    def submit(
        self,
        pipeline: str,
        *,
        run_name: str,
        experiment: str,
        parameters: Mapping[str, Any],
        start_within_s: float | None = None,
    ) -> str:
        if pipeline not in self._versions:
            known = ", ".join(self._versions) or "none"
            raise NotFound(f"Pipeline {pipeline!r} is not published; known: {known}. Run `ratchet pipelines publish`.")
        run_id = f"run-{next(self._numbers)}"
        self._runs[run_id] = RunState(run_id=run_id, name=run_name, state="RUNNING", created_at=self._now())
        self._experiment_of[run_id] = experiment
        self.parameters[run_id] = dict(parameters)
        return run_id

    def find_runs(self, run_name: str) -> Sequence[RunState]:
        return [run for run in self._runs.values() if run.name == run_name]

    def list_unfinished(self, experiment: str) -> Sequence[RunState]:
        return [run for run in self.list_runs(experiment=experiment, limit=1000) if not run.is_finished]

    def list_runs(self, *, experiment: str | None = None, limit: int = 20) -> Sequence[RunState]:
        runs = [run for run in self._runs.values() if experiment in (None, self._experiment_of[run.run_id])]
        return list(reversed(runs))[:limit]

    def fetch_run(self, run_id: str) -> RunState:
        try:
            return self._runs[run_id]
        except KeyError:
            raise NotFound(f"run {run_id} is not known to KFP.") from None

    def fetch_tasks(self, run_id: str) -> Sequence[RunTask]:
        self.fetch_run(run_id)
        return []

    def fetch_log(self, run_id: str, task: RunTask) -> str:
        raise NotFound(f"log of task {task.name!r} of run {run_id} is not known to KFP.")

    def list_artifacts(self, run_id: str) -> Sequence[RunArtifact]:
        self.fetch_run(run_id)
        return self.artifacts.get(run_id, ())

    def fetch_artifact(self, artifact: RunArtifact) -> bytes:
        try:
            return self.contents[artifact.uri]
        except KeyError:
            raise NotFound(f"artifact {artifact.output!r} of task {artifact.task_id!r} was removed.") from None

    def retry(self, run_id: str) -> None:
        if self.fetch_run(run_id).state != "FAILED":
            raise DataRejected(f"run {run_id} did not fail; only a failed run can be retried.")
        again = {"state": "RUNNING", "error": "", "finished_at": None}
        self._runs[run_id] = self.fetch_run(run_id).model_copy(update=again)

    def terminate(self, run_id: str) -> None:
        if not self.fetch_run(run_id).is_finished:
            self.finish(run_id, "CANCELED")

    def list_versions(self, pipeline: str) -> Sequence[PipelineVersion]:
        return [version for version, _ in reversed(self._versions.get(pipeline, []))]

    def list_pipelines(self) -> Sequence[PipelineVersion]:
        return [versions[-1][0] for versions in self._versions.values()]

    def fetch_spec(self, version: PipelineVersion) -> Mapping[str, Any]:
        return next(spec for known, spec in self._versions[version.pipeline] if known.version_id == version.version_id)

    def upload(self, pipeline: str, path: Path, *, version_name: str) -> PipelineVersion:
        documents = list(yaml.safe_load_all(path.read_text()))
        spec = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        known = self.list_versions(pipeline)
        if any(version.name == version_name for version in known):
            raise Conflict(f"version {version_name} of pipeline {pipeline!r} is there already.")
        return self._add_version(pipeline, version_name if known else pipeline, spec)

    def list_schedules(self) -> Sequence[Schedule]:
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
        if pipeline not in self._versions:
            known = ", ".join(self._versions) or "none"
            raise NotFound(f"Pipeline {pipeline!r} is not published; known: {known}. Run `ratchet pipelines publish`.")
        schedule = Schedule(
            schedule_id=f"schedule-{next(self._numbers)}",
            name=name,
            cron=cron,
            is_enabled=is_enabled,
            created_at=self._now(),
            description=description,
        )
        self._schedules[schedule.schedule_id] = schedule
        return schedule

    def enable_schedule(self, schedule_id: str) -> None:
        if schedule_id not in self._schedules:
            raise NotFound(f"recurring run {schedule_id} is not known to KFP.")
        enabled = self._schedules[schedule_id].model_copy(update={"is_enabled": True})
        self._schedules[schedule_id] = enabled

    def delete_schedule(self, schedule_id: str) -> None:
        if self._schedules.pop(schedule_id, None) is None:
            raise NotFound(f"recurring run {schedule_id} is not known to KFP.")

    def _add_version(self, pipeline: str, name: str, spec: Any) -> PipelineVersion:
        version = PipelineVersion(
            pipeline=pipeline,
            pipeline_id=f"pipeline-{pipeline}",
            version_id=f"version-{next(self._numbers)}",
            name=name,
            created_at=self._now(),
        )
        self._versions.setdefault(pipeline, []).append((version, spec))
        return version

    def _now(self) -> datetime:
        return BEGAN_AT + timedelta(seconds=next(self._numbers))
