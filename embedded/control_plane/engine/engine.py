"""The engine: one thread that decides about runs, a pool of threads that each wait for the process of one task.

The deciding thread owns all live state. It takes one event at a time (submitted, ended, terminate, timer), writes what
follows from it to the store, and only then acts: whatever is in the store is what happens after a crash, too. Processes
carry a mark; a reaper kills them when this process dies, and `start` does so again before anything is run anew.
"""

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from embedded.control_plane.engine import family
from embedded.control_plane.engine.attempt import Folders, run_root
from embedded.control_plane.engine.inbox import LONGEST_SLEEP_S, Inbox
from embedded.control_plane.engine.job import job_of
from embedded.control_plane.engine.leaf_commands import remove_leftovers
from embedded.control_plane.engine.live_run import LiveRun
from embedded.control_plane.engine.loading import load_pipeline
from embedded.control_plane.engine.opening import record_of, root_record
from embedded.control_plane.engine.records import (
    ROOT,
    TaskRecord,
    TaskState,
)
from embedded.control_plane.engine.resources import Amount
from embedded.control_plane.engine.retry import is_exit_work, paths_to_forget
from embedded.control_plane.engine.room import Room, is_out_of_room
from embedded.control_plane.engine.task_store import TaskStore
from embedded.control_plane.engine.tasks import Tasks, unexpected
from embedded.control_plane.engine.walk import Begin, End, Step, Walk
from embedded.control_plane.errors import ControlPlaneError
from wire.heartbeat import Heartbeat
from wire.printable import printable_lines

log = logging.getLogger(__name__)

_STOP_GRACE_S = 5.0
_STILL_S = 300.0
"""One decision takes milliseconds; the first, which resumes runs, reads their records."""
_PAUSE_AGAIN_S = 1.0
_NUM_PAUSES_MAX = 3


class Engine:
    """Runs pipelines. `submit` and the others may be called from any thread, and return at once."""

    def __init__(
        self, store: TaskStore, folders: Folders, *, machine: Amount | None = None, is_lenient: bool = False
    ) -> None:
        """is_lenient: values go where a cluster would fail the task; see docs/kfp-backend.md."""
        self._store = store
        self._is_lenient = is_lenient
        self._folders = folders
        self.room = Room(folders.data_dir, store.check_writable)
        self._inbox = Inbox()
        self._live: dict[str, LiveRun] = {}
        self._tasks = Tasks(store, folders, self._inbox, self._live, machine=machine, advance=self._advance)
        self._num_pauses: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._decide_for_ever, name="engine", daemon=True)
        self.heartbeat = Heartbeat("engine", late_s_max=_STILL_S)
        self._reaper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Kill what an earlier process of ours left running, and go on with every run that is not over."""
        family.stop_marked(f"{self._folders.engine_id}:", grace_s=0)
        self._folders.clear_scratch()
        if self._folders.container_engine:
            remove_leftovers(self._folders.container_engine, self._folders.engine_id)
        # It reads our pipe until the kernel closes it, however we end, and then kills the tasks that we leave behind.
        self._reaper = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(family.__file__)), f"{self._folders.engine_id}:"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        for run_id in self._store.unfinished_runs():
            self.submit(run_id)
        self._thread.start()
        self.heartbeat.begin(self._thread.is_alive)

    def stop(self) -> None:
        """End all processes; their tasks stay open in the store, and the next start runs them again."""
        self._tasks.is_stopping = True
        self._inbox.wake()
        self._thread.join(timeout=_STOP_GRACE_S)
        for live in list(self._live.values()):
            for process, _ in list(live.processes.values()):
                process.stop(grace_s=_STOP_GRACE_S)
        self._tasks.shutdown()
        if self._reaper and self._reaper.stdin:
            self._reaper.stdin.close()
            self._reaper.wait(timeout=_STOP_GRACE_S)

    def submit(self, run_id: str) -> None:
        """Start a run that is in the store, or go on with it."""
        self._inbox.tell(run_id, partial(self._open, run_id))

    def terminate(self, run_id: str) -> None:
        """Stop the run's tasks. Exit tasks still run; a second call stops those as well."""
        self._inbox.tell(run_id, partial(self._terminate, run_id))

    def retry(self, run_id: str) -> None:
        """Run what did not succeed of a run that is over, and what waits for it."""
        self._inbox.tell(run_id, partial(self._retry, run_id))

    def forget(self, run_id: str) -> None:
        """Stop the run at once, without its exit tasks: it was deleted."""
        self._inbox.tell(run_id, partial(self._forget, run_id))

    def _decide_for_ever(self) -> None:
        while True:
            self.heartbeat.beat(next_in_s=LONGEST_SLEEP_S)
            event = self._inbox.take()
            if self._tasks.is_stopping:
                return
            if event is None:
                continue
            self.heartbeat.beat()
            try:
                self._decide(*event)
            except (sqlite3.Error, OSError) as error:  # the store takes nothing: not even a run can be given up
                self._pause_until_well(event[0], error)
            except Exception:
                log.exception("run %s: it could not be given up; it goes on when the server is restarted", event[0])
                self._forget(event[0])

    def _pause_until_well(self, run_id: str, error: Exception) -> None:
        while not self._tasks.is_stopping:
            try:
                self._pause(run_id, error)
                return
            except Exception as again:  # an error in the way out of an error must not end the thread
                log.exception("the pipeline engine cannot continue yet")
                error = again
                time.sleep(_PAUSE_AGAIN_S)

    def _has_stopped(self) -> bool:
        """Asked each second of a pause, which is no standstill."""
        self.heartbeat.beat()
        return self._tasks.is_stopping

    def _pause(self, run_id: str, error: Exception) -> None:
        """What is in memory may be ahead of the store: go on as after a crash, once the store takes something.

        A run that makes the store fail again and again, with room on the disk, is left alone: it would stop the others.
        """
        self._num_pauses[run_id] += not is_out_of_room(error)
        for run_id in list(self._live):
            self._forget(run_id)
        family.stop_marked(f"{self._folders.engine_id}:", grace_s=_STOP_GRACE_S)
        self.room.wait(error, is_stopping=self._has_stopped)
        for unfinished in self._store.unfinished_runs():
            if self._num_pauses[unfinished] < _NUM_PAUSES_MAX:
                self.submit(unfinished)

    def _decide(self, run_id: str, action: Callable[[], None]) -> None:
        """A fault of ours ends the run it concerns, never the engine."""
        try:
            action()
        except ControlPlaneError as error:
            self._give_up(run_id, str(error))
        except Exception as error:
            if is_out_of_room(error):
                raise
            log.exception("run %s: an unexpected error", run_id)
            self._give_up(run_id, unexpected(error))

    def _give_up(self, run_id: str, message: str) -> None:
        """The run fails, and with it all of its tasks that are not over: none is shown as running from now on."""
        self._forget(run_id)
        message = printable_lines(message)
        ended = {"state": TaskState.FAILED, "error": message, "finished_at": _now(), "retry_at": None}
        with self._store.transaction():
            for record in self._store.records_of(run_id).values():
                if not record.state.is_final:
                    self._store.put_task(run_id, record.model_copy(update=ended))
            self._store.set_run_state(run_id, "FAILED", at=_wire_time(_now()), error=message, finished=True)

    def _open(self, run_id: str) -> None:
        if run_id in self._live:
            return
        request = self._store.request_of(run_id)
        pipeline = load_pipeline(self._store.get_spec(request.spec_digest))
        root = run_root(request, self._folders, pipeline)
        job, records = job_of(request, root, pipeline_name=pipeline.name), self._store.records_of(run_id)
        is_own_image = self._folders.container_engine is not None
        live = LiveRun(request, pipeline, job, root, records, self._is_lenient, is_own_image)
        self._live[run_id] = live
        if ROOT not in live.records:
            self._tasks.put(live, root_record(request))
        if pipeline.deadline_s:
            self._inbox.tell_later(run_id, partial(self._time_out, live), delay_s=max(0.0, _seconds_left(live)))
        self._store.set_run_state(run_id, "RUNNING", at=_wire_time(_now()))
        for record in [r for r in live.records.values() if r.kind.is_leaf and not r.state.is_final]:
            self._tasks.resume(live, record)
        self._advance(live)

    def _time_out(self, live: LiveRun) -> None:
        # A retry opens another LiveRun of this run: the timer of the earlier one must not end it.
        if self._live.get(live.run_id) is live and not live.request.is_canceling:
            self._terminate(live.run_id)

    def _terminate(self, run_id: str) -> None:
        live = self._live.get(run_id)
        if live is None:
            return
        spare_exit_tasks = not live.request.is_canceling
        live.request = live.request.model_copy(update={"is_canceling": True})
        walk = live.walk()
        for record in [r for r in live.records.values() if r.kind.is_leaf and not r.state.is_final]:
            if spare_exit_tasks and is_exit_work(walk, record.path):
                continue
            self._tasks.cancel(live, record)
        self._advance(live)

    def _retry(self, run_id: str) -> None:
        request = self._store.request_of(run_id)
        pipeline = load_pipeline(self._store.get_spec(request.spec_digest))
        records = self._store.records_of(run_id)
        forgotten = paths_to_forget(Walk(pipeline.spec, records, {}))
        with self._store.transaction():
            self._store.remove_tasks(run_id, forgotten)
            self._store.put_task(run_id, root_record(request))
        self._open(run_id)

    def _forget(self, run_id: str) -> None:
        live = self._live.pop(run_id, None)
        if live:
            self._tasks.drop_all(live)

    def _advance(self, live: LiveRun) -> None:
        """Take every step that is open, until the run waits for processes, or is over."""
        while steps := list(live.walk().steps()):
            with self._store.transaction():
                for step in steps:
                    self._take(live, step)
        root = live.records[ROOT]
        if root.state.is_final and live.run_id in self._live:
            del self._live[live.run_id]
            self._finish(live, root)

    def _finish(self, live: LiveRun, root: TaskRecord) -> None:
        state = "SUCCEEDED" if root.state is TaskState.SUCCEEDED else "FAILED"
        error = root.error
        if live.request.is_canceling and state == "FAILED":
            is_late = live.pipeline.deadline_s and _seconds_left(live) <= 0
            late = f"the run took longer than {live.pipeline.deadline_s:g} s (activeDeadlineSeconds)"
            error = late if is_late else "terminated"
        self._store.set_run_state(live.run_id, state, at=_wire_time(_now()), error=error, finished=True)

    def _take(self, live: LiveRun, step: Step) -> None:
        begin = step if isinstance(step, Begin) else step.begin
        if begin is not None:
            is_refused = isinstance(step, End) and step.state is TaskState.FAILED
            self._tasks.put(live, record_of(begin).model_copy(update={"is_refused": is_refused}))
        record = live.records[step.path]
        if isinstance(step, End):
            self._tasks.end(live, record, step.state, outputs=step.outputs, error=step.error)
        elif record.kind.is_leaf:
            self._tasks.launch(live, record)


def _seconds_left(live: LiveRun) -> float:
    """Of a run with a deadline. It counts from the start of the run, or of its retry."""
    began_at = live.records[ROOT].started_at or live.request.created_at
    return live.pipeline.deadline_s - (_now() - began_at).total_seconds()


def _now() -> datetime:
    return datetime.now(UTC)


def _wire_time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"
