"""Pipeline runs on a KFP server."""

import json
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.adapters.kfp_client import KfpApi, equals, is_in, namespace_of
from ratchet.core.errors import DataRejected, NotFound, RatchetError, SettingsError, Unavailable
from ratchet.core.ports import RunArtifact, RunState, RunTask
from ratchet.settings import Settings

UNFINISHED = ("PENDING", "RUNNING", "CANCELING", "PAUSED")
_LOG_ROUTES = ("/apis/v2beta1", "/apis/v1alpha1")
"""KFP moved its log route from v1alpha1 to v2beta1 after 2.16."""
_PAGE = 50


class KfpPipelines:
    """`ports.Pipelines` over `kfp.Client`."""

    def __init__(self, api: KfpApi) -> None:
        self._api = api
        self._catalog = KfpPipelineCatalog(api)

    @classmethod
    def of(cls, settings: Settings) -> "KfpPipelines":
        return cls(KfpApi.of(settings))

    def submit(
        self,
        pipeline: str,
        *,
        run_name: str,
        experiment: str,
        parameters: Mapping[str, Any],
        start_within_s: float | None = None,
    ) -> str:
        import kfp_server_api as kfp_models

        began_at = time.monotonic()
        newest = self._catalog.fetch_newest(pipeline)
        body = kfp_models.V2beta1Run(
            experiment_id=self._api.put_experiment(experiment),
            display_name=run_name,
            pipeline_version_reference=kfp_models.V2beta1PipelineVersionReference(
                pipeline_id=newest.pipeline_id, pipeline_version_id=newest.version_id
            ),
            runtime_config=kfp_models.V2beta1RuntimeConfig(parameters=dict(parameters)),
        )
        took_s = time.monotonic() - began_at
        if start_within_s is not None and took_s > start_within_s:
            raise Unavailable(
                f"Run {run_name!r} was not started: KFP at {self._api.endpoint} took {took_s:.1f} s to answer, limit "
                f"{start_within_s:.1f} s. It will be retried automatically."
            )
        return self._api.write(f"run {run_name!r}", self._api.client.runs.run_service_create_run, run=body).run_id

    def find_runs(self, run_name: str) -> Sequence[RunState]:
        found = self._runs(
            f"run {run_name!r}",
            filter=equals("display_name", run_name),
            sort_by="created_at",
            **namespace_of(self._api),
        )
        return list(found)

    def list_unfinished(self, experiment: str) -> Sequence[RunState]:
        experiment_id = self._api.experiment_id(experiment)
        if experiment_id is None:
            return []
        found = self._runs("runs", experiment_id=experiment_id, filter=is_in("state", UNFINISHED))
        return [run for run in found if not run.is_finished]

    def list_runs(self, *, experiment: str | None = None, limit: int = 20) -> Sequence[RunState]:
        scope: dict[str, str] = namespace_of(self._api)
        if experiment is not None:
            experiment_id = self._api.experiment_id(experiment)
            if experiment_id is None:
                return []
            scope = {"experiment_id": experiment_id}
        found = self._runs("runs", page_size=min(limit, _PAGE), sort_by="created_at desc", **scope)
        return list(islice(found, limit))

    def fetch_run(self, run_id: str) -> RunState:
        return _run_of(self._api.read(f"run {run_id}", self._api.client.runs.run_service_get_run, run_id=run_id))

    def fetch_tasks(self, run_id: str) -> Sequence[RunTask]:
        run = self._api.read(f"run {run_id}", self._api.client.runs.run_service_get_run, run_id=run_id)
        details = (run.run_details.task_details if run.run_details else None) or ()
        tasks = [_task_of(detail) for detail in details]
        return sorted(tasks, key=lambda task: (task.started_at is None, str(task.started_at), task.name))

    def fetch_log(self, run_id: str, task: RunTask) -> str:
        what = f"log of task {task.name!r} of run {run_id}"
        node = quote(task.log_node or task.task_id, safe="")
        missing: RatchetError | None = None
        for route in _LOG_ROUTES:
            try:
                return self._api.fetch_text(f"{route}/runs/{run_id}/nodes/{node}/log", what=what)
            except (NotFound, SettingsError) as error:  # a server without the second route may call it forbidden
                missing = missing or error
        raise missing or NotFound(what)

    def list_artifacts(self, run_id: str) -> Sequence[RunArtifact]:
        """NotFound from a cluster's server: this route is the embedded one's."""
        text = self._api.fetch_text(f"/apis/v2beta1/runs/{run_id}/artifacts", what=f"artifacts of run {run_id}")
        return [
            RunArtifact(
                task_id=found["task_id"],
                output=found["output"],
                name=found["name"],
                type=str(next(iter(found["type"].values()), "")),
                uri=found["uri"],
                url=f"{self._api.endpoint}{found['url']}",
            )
            for found in json.loads(text)["artifacts"]
        ]

    def fetch_artifact(self, artifact: RunArtifact) -> bytes:
        what = f"artifact {artifact.output!r} of task {artifact.task_id!r}"
        if not artifact.url.startswith(f"{self._api.endpoint}/"):
            raise NotFound(f"{what} is not served by KFP at {self._api.endpoint}; it is kept at {artifact.uri!r}.")
        return self._api.fetch_bytes(artifact.url.removeprefix(self._api.endpoint), what=what)

    def retry(self, run_id: str) -> None:
        self._api.write(f"run {run_id}", self._api.client.runs.run_service_retry_run, run_id=run_id)

    def terminate(self, run_id: str) -> None:
        try:
            self._api.write(f"run {run_id}", self._api.client.runs.run_service_terminate_run, run_id=run_id)
        except DataRejected:
            if not self.fetch_run(run_id).is_finished:
                raise

    def _runs(self, what: str, **query: Any) -> "map[RunState]":
        query.setdefault("page_size", _PAGE)
        return map(_run_of, self._api.pages(what, self._api.client.runs.run_service_list_runs, "runs", **query))


def _run_of(run: Any) -> RunState:
    return RunState(
        run_id=run.run_id,
        name=run.display_name,
        state=_state_of(run),
        error=(run.error.message or "") if run.error else "",
        created_at=run.created_at,
        finished_at=_moment(run.finished_at),
    )


def _state_of(run: Any) -> str:
    """KFP ends a terminated run as FAILED; that it was CANCELING before tells it from one that failed by itself."""
    state = run.state or "PENDING"
    before = [status.state for status in run.state_history or () if status.state != state]
    return "CANCELED" if state == "FAILED" and before[-1:] == ["CANCELING"] else state


def _task_of(detail: Any) -> RunTask:
    return RunTask(
        task_id=detail.task_id or detail.display_name,
        name=detail.display_name or detail.task_id,
        state=detail.state or "PENDING",
        parent_id=detail.parent_task_id or "",
        log_node=detail.pod_name or "",
        started_at=_moment(detail.start_time or detail.create_time),
        finished_at=_moment(detail.end_time),
        error=(detail.error.message or "") if detail.error else "",
    )


def _moment(value: Any) -> Any:
    """KFP says 1970 for "not yet"."""
    return None if value is None or value.year < 1971 else value
