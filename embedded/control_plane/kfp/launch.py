"""From a request for a run to a run in the store: which pipeline, with which arguments."""

from typing import Any

from embedded.control_plane.engine.inputs import root_arguments
from embedded.control_plane.engine.loading import load_pipeline
from embedded.control_plane.engine.roots import check_root
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.bodies import RunBody, check_fields
from embedded.control_plane.kfp.experiments import experiment_id_for
from embedded.control_plane.kfp.pipelines import find_version
from embedded.control_plane.kfp.store import Document, Store
from embedded.control_plane.kfp.wire import name_in, new_id, now_text
from embedded.control_plane.sound_json import check_sound

_KEPT = ("description", "pipeline_version_reference", "runtime_config", "service_account")


def add_run(
    store: Store,
    body: Document,
    *,
    run_id: str | None = None,
    scheduled_at: str | None = None,
    recurring_run_id: str | None = None,
) -> Document:
    """Check the request and keep the run, PENDING. Conflict when the id is taken; the engine is told by the caller."""
    run_id = run_id or new_id()
    created_at = now_text()
    with store.transaction():
        spec_digest, arguments = resolve_launch(store, body)
        experiment_id = experiment_id_for(store, body.get("experiment_id"))
        run = {
            "run_id": run_id,
            "experiment_id": experiment_id,
            "display_name": name_in(body, what="A run"),
            "recurring_run_id": recurring_run_id,
            "storage_state": "AVAILABLE",
            "created_at": created_at,
            "scheduled_at": scheduled_at or created_at,
            "state": "PENDING",
            "state_history": [{"update_time": created_at, "state": "PENDING"}],
            "_spec_digest": spec_digest,
            "_arguments": arguments,
            **{key: body[key] for key in _KEPT if body.get(key) is not None},
        }
        store.add("run", run_id, run)
        store.change("experiment", experiment_id, lambda found: {**found, "last_run_created_at": created_at})
    return run


def resolve_launch(store: Store, body: Document) -> tuple[str, dict[str, Any]]:
    """The digest of the pipeline to run, and its arguments. DataRejected when either cannot be run as it is."""
    check_fields(body, RunBody)
    runtime = body.get("runtime_config") or {}
    check_sound(runtime, where="runtime_config")
    if root := runtime.get("pipeline_root"):
        check_root(root)
    reference = body.get("pipeline_version_reference")
    if reference:
        digest = find_version(store, reference)["_spec_digest"]
        pipeline = load_pipeline(store.get_spec(digest))
    elif body.get("pipeline_spec"):
        pipeline = load_pipeline(body["pipeline_spec"])
        digest = store.put_spec(body["pipeline_spec"])
    else:
        raise DataRejected("A run needs a pipeline_spec or a pipeline_version_reference.")
    return digest, root_arguments(pipeline.spec, runtime.get("parameters") or {})
