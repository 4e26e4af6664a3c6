"""Routes of runs; kfp_files.py has those of what their tasks left behind."""

from fastapi import APIRouter

from embedded.control_plane.engine.engine import Engine
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.bodies import JsonBody
from embedded.control_plane.kfp.launch import add_run
from embedded.control_plane.kfp.listing import ListParameters, list_page
from embedded.control_plane.kfp.store import Document, Store
from embedded.control_plane.kfp.wire import FINAL_STATES, now_text, show, task_details


def runs_router(store: Store, engine: Engine) -> APIRouter:
    router = APIRouter(tags=["runs"])

    @router.post("/runs")
    def create_run(body: JsonBody) -> Document:
        run = add_run(store, body)
        # In the store before the engine knows: a run that a kill leaves in between begins at the next start.
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

    return router


def _shown_run(store: Store, run: Document) -> Document:
    shown = show(run)
    if "pipeline_version_reference" not in run:
        return store.with_spec(shown, run)
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
    removed = run.get("_files_removed")
    if removed and removed["with_artifacts"]:
        raise DataRejected(
            f"Run {run['run_id']} cannot continue: the files of its tasks were removed, because {removed['reason']}. "
            "Start a new run."
        )
    history = [*run["state_history"], {"update_time": now_text(), "state": "PENDING"}]
    pending = {**run, "state": "PENDING", "state_history": history, "_is_canceling": False}
    return {key: value for key, value in pending.items() if key not in ("error", "finished_at", "_files_removed")}
