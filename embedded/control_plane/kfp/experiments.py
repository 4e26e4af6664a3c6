"""Routes of experiments: named groups of runs."""

from fastapi import APIRouter

from embedded.control_plane.errors import Conflict
from embedded.control_plane.kfp.bodies import ExperimentBody, JsonBody, check_fields
from embedded.control_plane.kfp.listing import ListParameters, list_page
from embedded.control_plane.kfp.store import Document, Store
from embedded.control_plane.kfp.wire import name_in, new_id, now_text, show

DEFAULT_EXPERIMENT = "Default"
_NEVER = "1970-01-01T00:00:00Z"


def experiments_router(store: Store) -> APIRouter:
    router = APIRouter(tags=["experiments"])

    @router.post("/experiments")
    def create_experiment(body: JsonBody) -> Document:
        check_fields(body, ExperimentBody)
        return show(_add_experiment(store, body))

    @router.get("/experiments")
    def list_experiments(query: ListParameters) -> Document:
        experiments, beside = list_page(store, "experiment", query, show=show)
        return {"experiments": experiments, **beside}

    @router.get("/experiments/{experiment_id}")
    def get_experiment(experiment_id: str) -> Document:
        return show(store.get("experiment", experiment_id))

    @router.delete("/experiments/{experiment_id}")
    def delete_experiment(experiment_id: str) -> Document:
        store.remove("experiment", experiment_id)
        return {}

    @router.post("/experiments/{experiment_id}:archive")
    def archive_experiment(experiment_id: str) -> Document:
        """As on a cluster, its runs are archived with it, and its recurring runs disabled."""
        with store.transaction():
            _set(store, "experiment", experiment_id, {"storage_state": "ARCHIVED"})
            for run in _in_experiment(store, "run", experiment_id):
                _set(store, "run", run["run_id"], {"storage_state": "ARCHIVED"})
            for recurring in _in_experiment(store, "recurring_run", experiment_id):
                disabled = {"mode": "DISABLE", "status": "DISABLED", "updated_at": now_text()}
                _set(store, "recurring_run", recurring["recurring_run_id"], disabled)
        return {}

    @router.post("/experiments/{experiment_id}:unarchive")
    def unarchive_experiment(experiment_id: str) -> Document:
        _set(store, "experiment", experiment_id, {"storage_state": "AVAILABLE"})
        return {}

    return router


def experiment_id_for(store: Store, experiment_id: str | None) -> str:
    """That experiment when it exists; the default one, made on first use, when none is named."""
    if experiment_id:
        return str(store.get("experiment", experiment_id)["experiment_id"])
    with store.transaction():
        found = store.select("experiment", where="display_name = ?", values=(DEFAULT_EXPERIMENT,))
        experiment = found[0] if found else _add_experiment(store, {"display_name": DEFAULT_EXPERIMENT})
    return str(experiment["experiment_id"])


def _add_experiment(store: Store, body: Document) -> Document:
    name = name_in(body, what="An experiment")
    with store.transaction():
        if store.count("experiment", where="display_name = ?", values=(name,)):
            raise Conflict(f"Already exist error: there is an experiment named {name!r}. Use that one.")
        experiment_id = new_id()
        experiment = {
            "experiment_id": experiment_id,
            "display_name": name,
            "description": body.get("description"),
            "namespace": body.get("namespace"),
            "created_at": now_text(),
            "last_run_created_at": _NEVER,
            "storage_state": "AVAILABLE",
        }
        store.add("experiment", experiment_id, experiment)
    return experiment


def _in_experiment(store: Store, kind: str, experiment_id: str) -> list[Document]:
    return store.select(kind, where="experiment_id = ?", values=(experiment_id,))


def _set(store: Store, kind: str, document_id: str, fields: Document) -> None:
    store.change(kind, document_id, lambda document: {**document, **fields})
