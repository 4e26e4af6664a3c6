"""Routes of recurring runs."""

from fastapi import APIRouter

from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.bodies import JsonBody, RecurringBody, check_fields
from embedded.control_plane.kfp.experiments import experiment_id_for
from embedded.control_plane.kfp.launch import resolve_launch
from embedded.control_plane.kfp.listing import ListParameters, list_page
from embedded.control_plane.kfp.slots import check_recurring, last_slot_of, max_concurrency_of, slot_before
from embedded.control_plane.kfp.store import Document, Store
from embedded.control_plane.kfp.wire import name_in, new_id, now_text, parse_time, show, time_text

_KEPT = ("description", "trigger", "no_catchup", "runtime_config", "service_account", "pipeline_version_reference")
_MODES = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}


def recurring_router(store: Store) -> APIRouter:
    router = APIRouter(tags=["recurring runs"])

    @router.post("/recurringruns")
    def create_recurring_run(body: JsonBody) -> Document:
        return _shown(store, _add_recurring(store, body))

    @router.get("/recurringruns")
    def list_recurring_runs(query: ListParameters) -> Document:
        only = {"experiment_id": query.experiment_id} if query.experiment_id else None
        found, beside = list_page(store, "recurring_run", query, show=lambda one: _shown(store, one), only=only)
        return {"recurringRuns": found, **beside}

    @router.get("/recurringruns/{recurring_run_id}")
    def get_recurring_run(recurring_run_id: str) -> Document:
        return _shown(store, store.get("recurring_run", recurring_run_id))

    @router.delete("/recurringruns/{recurring_run_id}")
    def delete_recurring_run(recurring_run_id: str) -> Document:
        store.remove("recurring_run", recurring_run_id)
        return {}

    @router.post("/recurringruns/{recurring_run_id}:enable")
    def enable_recurring_run(recurring_run_id: str) -> Document:
        store.change("recurring_run", recurring_run_id, _enabled)
        return {}

    @router.post("/recurringruns/{recurring_run_id}:disable")
    def disable_recurring_run(recurring_run_id: str) -> Document:
        disabled = {"mode": "DISABLE", "status": "DISABLED", "updated_at": now_text()}
        store.change("recurring_run", recurring_run_id, lambda found: {**found, **disabled})
        return {}

    return router


def _add_recurring(store: Store, body: Document) -> Document:
    check_fields(body, RecurringBody)
    name = name_in(body, what="A recurring run")
    check_recurring(body)
    mode = body.get("mode") or "ENABLE"
    if mode not in _MODES:
        raise DataRejected(f"mode is {mode!r}; it must be ENABLE or DISABLE.")
    spec_digest, _ = resolve_launch(store, body)
    recurring_run_id, created_at = new_id(), now_text()
    recurring = {
        "recurring_run_id": recurring_run_id,
        "experiment_id": experiment_id_for(store, body.get("experiment_id")),
        "display_name": name,
        "mode": mode,
        "status": _MODES[mode],
        "max_concurrency": str(max_concurrency_of(body)),
        "created_at": created_at,
        "updated_at": created_at,
        "_index": 0,
        "_spec_digest": spec_digest,
        **{key: body[key] for key in _KEPT if body.get(key) is not None},
    }
    store.add("recurring_run", recurring_run_id, recurring)
    return recurring


def _enabled(recurring: Document) -> Document:
    """The time while it was disabled counts as no slot: nobody expects a flood of old runs."""
    if recurring["status"] == "ENABLED":
        return recurring
    now = now_text()
    last = slot_before(
        recurring["trigger"],
        last_slot=last_slot_of(recurring),
        made_at=parse_time(recurring["created_at"]),
        now=parse_time(now),
    )
    kept = {key: value for key, value in recurring.items() if key != "_last_slot"}
    moved = {"_last_slot": time_text(last)} if last else {}
    return {**kept, **moved, "mode": "ENABLE", "status": "ENABLED", "updated_at": now}


def _shown(store: Store, recurring: Document) -> Document:
    shown = show(recurring)
    if "pipeline_version_reference" not in recurring:
        return store.with_spec(shown, recurring)
    return shown
