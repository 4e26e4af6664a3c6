"""Starting recurring runs. One thread looks twice a second at what is due.

The run of a slot has an id that is a function of the slot, and is written in the same transaction that moves the
schedule on: a crash before it leaves both undone, a crash after it leaves both done, and a second writer conflicts.
"""

import logging
import uuid
from datetime import UTC, datetime

from embedded.control_plane.engine.engine import Engine
from embedded.control_plane.errors import Conflict, ControlPlaneError
from embedded.control_plane.kfp.launch import add_run
from embedded.control_plane.kfp.macros import expand_macros
from embedded.control_plane.kfp.slots import due_slot, last_slot_of, max_concurrency_of
from embedded.control_plane.kfp.store import Document, Store
from embedded.control_plane.kfp.wire import now_text, parse_time, time_text
from wire.loop import Loop

log = logging.getLogger(__name__)

_TICK_S = 0.5
_PASSED_ON = ("experiment_id", "pipeline_version_reference", "service_account")


class Schedule:
    """Starts the runs of all enabled recurring runs, while its loop is started."""

    def __init__(self, store: Store, engine: Engine, *, zone: str = "UTC") -> None:
        """zone: of the cron expressions that name none."""
        self._store = store
        self._zone = zone
        self._engine = engine
        self._told: dict[str, str] = {}
        """By recurring run: the last error of ours that is in the log."""
        self.loop = Loop("schedule", lambda: self.tick(datetime.now(UTC)), pause_s=_TICK_S, late_s_max=300.0)

    def tick(self, now: datetime) -> None:
        """Start what is due at `now`: at most one slot of each recurring run."""
        where = "status = 'ENABLED'"
        for recurring in self._store.select("recurring_run", where=where):
            recurring_run_id = recurring["recurring_run_id"]
            try:  # whatever is wrong with this one, the others are due
                self._tick_one(recurring_run_id, now)
            except Exception as error:
                self._say(recurring_run_id, error)
            else:
                self._told.pop(recurring_run_id, None)

    def _say(self, recurring_run_id: str, error: Exception) -> None:
        """Each reason once: two ticks a second would fill the disk with the same one."""
        if self._told.get(recurring_run_id) != repr(error):
            self._told[recurring_run_id] = repr(error)
            log.error("recurring run %s failed to start its slot", recurring_run_id, exc_info=error)

    def _tick_one(self, recurring_run_id: str, now: datetime) -> None:
        try:
            if run_id := self._claim(recurring_run_id, now):
                self._engine.submit(run_id)
        except ControlPlaneError as error:
            self._note_error(recurring_run_id, str(error))
        except Exception as error:
            self._note_error(recurring_run_id, f"{type(error).__name__}: {error}")
            raise

    def _claim(self, recurring_run_id: str, now: datetime) -> str | None:
        """Write the run of the slot that is due, and move the schedule on; None when nothing is due."""
        with self._store.transaction():
            recurring = self._store.get("recurring_run", recurring_run_id)
            slot = due_slot(
                recurring["trigger"],
                last_slot=last_slot_of(recurring),
                made_at=parse_time(recurring["created_at"]),
                now=now,
                catches_up=recurring.get("no_catchup") is False,
                zone=self._zone,
            )
            if (
                slot is None
                or recurring["status"] != "ENABLED"
                or self._num_active(recurring) >= max_concurrency_of(recurring)
            ):
                return None
            index = recurring["_index"] + 1
            moved = {"_last_slot": time_text(slot), "_index": index}
            self._store.change("recurring_run", recurring_run_id, lambda found: {**found, **moved})
            return self._add_run_of(recurring, slot=slot, index=index, now=now)

    def _add_run_of(self, recurring: Document, *, slot: datetime, index: int, now: datetime) -> str | None:
        recurring_run_id = recurring["recurring_run_id"]
        run_id = str(uuid.uuid5(uuid.UUID(recurring_run_id), time_text(slot)))
        runtime = recurring.get("runtime_config") or {}
        parameters = {
            name: expand_macros(value, run_id=run_id, index=index, scheduled_at=slot, now=now)
            for name, value in (runtime.get("parameters") or {}).items()
        }
        body = {key: recurring[key] for key in _PASSED_ON if recurring.get(key)}
        body |= {
            "display_name": f"{recurring['display_name']}-{index}",
            "runtime_config": {**runtime, "parameters": parameters},
        }
        if "pipeline_version_reference" not in body:
            body["pipeline_spec"] = self._store.get_spec(recurring["_spec_digest"])
        try:
            add_run(self._store, body, run_id=run_id, scheduled_at=time_text(slot), recurring_run_id=recurring_run_id)
        except Conflict:
            return None
        return run_id

    def _num_active(self, recurring: Document) -> int:
        where = "recurring_run_id = ? and state in ('PENDING', 'RUNNING', 'CANCELING')"
        return self._store.count("run", where=where, values=(recurring["recurring_run_id"],))

    def _note_error(self, recurring_run_id: str, message: str) -> None:
        """Show why the slot was not run; the next tick tries again, so it is written once."""

        def noted(recurring: Document) -> Document | None:
            error = {"code": 13, "message": message, "details": []}
            return None if recurring.get("error") == error else {**recurring, "error": error, "updated_at": now_text()}

        self._store.change("recurring_run", recurring_run_id, noted)
