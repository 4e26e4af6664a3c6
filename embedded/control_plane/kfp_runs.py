"""Routes of runs, and of what their tasks left behind: logs and artifacts (these two are ours, not KFP's)."""

import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Body
from fastapi.responses import PlainTextResponse

from embedded.control_plane.engine.engine import Engine
from embedded.control_plane.engine.leaf import Folders
from embedded.control_plane.kfp_launch import add_run
from embedded.control_plane.kfp_listing import ListParameters, list_page
from embedded.control_plane.kfp_wire import now_text, show, task_details
from embedded.control_plane.store import Document, Store
from ratchet.core.errors import DataRejected, NotFound

FINAL_STATES = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_MAX_LOG_BYTES = 4 * 1024 * 1024
"""Of one log the last part is shown; the file itself is whole."""
_BODY = Body(...)


def runs_router(store: Store, engine: Engine, folders: Folders) -> APIRouter:
    router = APIRouter(tags=["runs"])

    @router.post("/runs")
    def create_run(body: dict[str, Any] = _BODY) -> Document:
        run = add_run(store, body)
        engine.submit(run["run_id"])
        return _shown_run(store, run)

    @router.get("/runs")
    def list_runs(query: ListParameters) -> Document:
        only = {"experiment_id": query.experiment_id} if query.experiment_id else None
        runs, beside = list_page(store, "run", query, show=show, only=only)
        return {"runs": runs, **beside}

    @router.get("/runs/{run_id}")
    def get_run(run_id: str) -> Document:
        run = _shown_run(store, store.get("run", run_id))
        return {**run, "run_details": {"task_details": task_details(run_id, store.records_of(run_id))}}

    @router.delete("/runs/{run_id}")
    def delete_run(run_id: str) -> Document:
        with store.transaction():
            store.remove("run", run_id)
            store.remove_tasks(run_id)
        engine.forget(run_id)
        return {}

    @router.post("/runs/{run_id}:archive")
    def archive_run(run_id: str) -> Document:
        store.change("run", run_id, lambda run: {**run, "storage_state": "ARCHIVED"})
        return {}

    @router.post("/runs/{run_id}:unarchive")
    def unarchive_run(run_id: str) -> Document:
        store.change("run", run_id, lambda run: {**run, "storage_state": "AVAILABLE"})
        return {}

    @router.post("/runs/{run_id}:terminate")
    def terminate_run(run_id: str) -> Document:
        store.change("run", run_id, _canceling)
        engine.terminate(run_id)
        return {}

    @router.post("/runs/{run_id}:retry")
    def retry_run(run_id: str) -> Document:
        store.change("run", run_id, _pending_again)
        engine.retry(run_id)
        return {}

    _add_task_routes(router, store, folders)
    return router


def _add_task_routes(router: APIRouter, store: Store, folders: Folders) -> None:
    @router.get("/runs/{run_id}/nodes/{task_id:path}/log", response_class=PlainTextResponse)  # KFP's, since 2.17
    @router.get("/runs/{run_id}/tasks/{task_id:path}/log", response_class=PlainTextResponse)
    def get_task_log(run_id: str, task_id: str) -> str:
        """The logs of all attempts of a task, oldest first."""
        record = store.records_of(run_id).get(task_id)
        if record is None:
            raise NotFound(f"Run {run_id!r} has no task {task_id!r}. Its task_details name them.")
        logs = sorted(folders.logs_of(run_id, record.path).glob("attempt-*.log"), key=_attempt_of)
        texts = [_tail_of(path) for path in logs]
        if len(texts) == 1:
            return texts[0]
        return "".join(f"--- attempt {_attempt_of(path)}\n{text}" for path, text in zip(logs, texts, strict=True))

    @router.get("/runs/{run_id}/artifacts")
    def list_artifacts(run_id: str) -> Document:
        """Every artifact that the run's tasks made, with its local path."""
        store.get("run", run_id)
        leaves = [record for record in store.records_of(run_id).values() if record.kind.is_leaf]
        return {
            "artifacts": [
                {"task_id": record.path, "output": key, "path": artifact.uri, **artifact.model_dump()}
                for record in leaves
                for key, artifacts in record.outputs.artifacts.items()
                for artifact in artifacts
            ]
        }


def _shown_run(store: Store, run: Document) -> Document:
    shown = show(run)
    if "pipeline_version_reference" not in run:
        shown["pipeline_spec"] = store.get_spec(run["_spec_digest"])
    return shown


def _canceling(run: Document) -> Document:
    if run["state"] in FINAL_STATES:
        raise DataRejected(f"Run {run['run_id']} is over ({run['state']}); only a running one can be terminated.")
    if run["state"] == "CANCELING":
        return run
    history = [*run["state_history"], {"update_time": now_text(), "state": "CANCELING"}]
    return {**run, "state": "CANCELING", "state_history": history, "_is_canceling": True}


def _pending_again(run: Document) -> Document:
    if run["state"] != "FAILED":
        raise DataRejected(f"Run {run['run_id']} is {run['state']}; only a failed run can be retried.")
    history = [*run["state_history"], {"update_time": now_text(), "state": "PENDING"}]
    pending = {**run, "state": "PENDING", "state_history": history, "_is_canceling": False}
    return {key: value for key, value in pending.items() if key not in ("error", "finished_at")}


def _attempt_of(path: Path) -> int:
    return int(re.sub(r"\D", "", path.stem))


def _tail_of(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _MAX_LOG_BYTES))
        return log.read().decode(errors="replace")
