"""The engine: one thread that decides, a pool of threads that each wait for one process.

The deciding thread owns all live state. It takes one event at a time (submitted, ended, terminate, timer), writes what
follows from it to the store, and only then acts: whatever is in the store is what happens after a crash, too. Processes
carry a mark; a reaper kills them when this process dies, and `start` does so again before anything is run anew.
"""

import heapq
import itertools
import logging
import os
import queue
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from embedded.control_plane.engine import family
from embedded.control_plane.engine.attempt import Folders, LeafAttempt, run_root, write_notes
from embedded.control_plane.engine.cache import is_intact
from embedded.control_plane.engine.executor_io import imported_artifact
from embedded.control_plane.engine.images import image_note, with_image
from embedded.control_plane.engine.job import job_of, task_job_of
from embedded.control_plane.engine.leaf import LeafResult, run_leaf
from embedded.control_plane.engine.leaf_commands import remove_leftovers
from embedded.control_plane.engine.live_run import LiveRun
from embedded.control_plane.engine.loading import load_pipeline
from embedded.control_plane.engine.machine import measure_machine
from embedded.control_plane.engine.opening import record_of, root_record
from embedded.control_plane.engine.plan import TERMINATED, retry_delay_s
from embedded.control_plane.engine.records import (
    ROOT,
    TaskRecord,
    TaskState,
)
from embedded.control_plane.engine.resources import Amount, demand_of
from embedded.control_plane.engine.retry import is_exit_work, paths_to_forget
from embedded.control_plane.engine.room import Room, is_out_of_room
from embedded.control_plane.engine.spec import Component, Container, Executor, Importer
from embedded.control_plane.engine.task_process import Ending, TaskExit, TaskProcess
from embedded.control_plane.engine.task_queue import Place, TaskQueue
from embedded.control_plane.engine.task_store import TaskStore
from embedded.control_plane.engine.values import Values
from embedded.control_plane.engine.walk import Begin, End, Step, Walk
from embedded.control_plane.errors import ControlPlaneError, DataRejected
from wire.heartbeat import Heartbeat
from wire.printable import printable_lines

log = logging.getLogger(__name__)

_STOP_GRACE_S = 5.0
_LONGEST_SLEEP_S = 3600.0
_STILL_S = 300.0
"""One decision takes milliseconds; the first, which resumes runs, reads their records."""
_PAUSE_AGAIN_S = 1.0
RESUMES_MAX = 25
"""Of one attempt, over restarts of this server. A machine that is switched off every night must not end a long task."""
_NUM_PAUSES_MAX = 3
_NUM_WORKERS_MIN = 8
"""Tasks that ask for nothing run this many at once even on a small machine: most of them wait for something else."""


class Engine:
    """Runs pipelines. `submit` and the others may be called from any thread, and return at once."""

    def __init__(
        self, store: TaskStore, folders: Folders, *, machine: Amount | None = None, is_lenient: bool = False
    ) -> None:
        """is_lenient: values go where a cluster would fail the task; see docs/kfp-backend.md."""
        self._store = store
        self._is_lenient = is_lenient
        self._folders = folders
        self._machine = machine or measure_machine()
        self.room = Room(folders.data_dir, store.check_writable)
        num_workers = max(_NUM_WORKERS_MIN, 2 * (os.cpu_count() or 1))
        self._queue = TaskQueue(self._machine, num_workers=num_workers)
        self._inbox: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue()
        self._timers: list[tuple[float, int, str, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._live: dict[str, LiveRun] = {}
        self._num_pauses: Counter[str] = Counter()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._decide_for_ever, name="engine", daemon=True)
        self.heartbeat = Heartbeat("engine", late_s_max=_STILL_S)
        self._reaper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Kill what an earlier process of ours left running, and go on with every run that is not over."""
        family.stop_marked(f"{self._folders.engine_id}:", grace_s=0)
        self._folders.clear_scratch()
        if self._folders.container_engine:
            remove_leftovers(self._folders.container_engine, self._folders.engine_id)
        self._reaper = subprocess.Popen(
            [sys.executable, "-S", "-E", str(Path(family.__file__)), f"{self._folders.engine_id}:"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        for run_id in self._store.unfinished_runs():
            self.submit(run_id)
        self._thread.start()
        self.heartbeat.begin(self._thread)

    def stop(self) -> None:
        """End all processes; their tasks stay open in the store, and the next start runs them again."""
        self._is_stopping = True
        self._inbox.put(None)
        self._thread.join(timeout=_STOP_GRACE_S)
        for live in list(self._live.values()):
            for process, _ in list(live.processes.values()):
                process.stop(grace_s=_STOP_GRACE_S)
        self._queue.shutdown()
        if self._reaper and self._reaper.stdin:
            self._reaper.stdin.close()
            self._reaper.wait(timeout=_STOP_GRACE_S)

    def submit(self, run_id: str) -> None:
        """Start a run that is in the store, or go on with it."""
        self._tell(run_id, partial(self._open, run_id))

    def terminate(self, run_id: str) -> None:
        """Stop the run's tasks. Exit tasks still run; a second call stops those as well."""
        self._tell(run_id, partial(self._terminate, run_id))

    def retry(self, run_id: str) -> None:
        """Run what did not succeed of a run that is over, and what waits for it."""
        self._tell(run_id, partial(self._retry, run_id))

    def forget(self, run_id: str) -> None:
        """Stop the run at once, without its exit tasks: it was deleted."""
        self._tell(run_id, partial(self._forget, run_id))

    def _tell(self, run_id: str, action: Callable[[], None]) -> None:
        self._inbox.put((run_id, action))

    def _tell_later(self, run_id: str, action: Callable[[], None], *, delay_s: float) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._sequence), run_id, action))

    def _decide_for_ever(self) -> None:
        while True:
            self.heartbeat.beat(next_in_s=_LONGEST_SLEEP_S)
            try:
                event = self._inbox.get(timeout=self._sleep_s())
            except queue.Empty:
                event = None
                if not self._timers or self._timers[0][0] > time.monotonic():
                    continue
                _, _, run_id, action = heapq.heappop(self._timers)
                event = (run_id, action)
            if event is None or self._is_stopping:
                return
            self.heartbeat.beat()
            try:
                self._decide(*event)
            except (sqlite3.Error, OSError) as error:  # the store takes nothing: not even a run can be given up
                self._pause_until_well(event[0], error)
            except Exception:
                log.exception("run %s: it could not be given up; it goes on when the server is restarted", event[0])
                self._forget(event[0])

    def _pause_until_well(self, run_id: str, error: Exception) -> None:
        while not self._is_stopping:
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
        return self._is_stopping

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

    def _sleep_s(self) -> float:
        """Never longer than a lock can wait."""
        due_s = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else _LONGEST_SLEEP_S
        return min(due_s, _LONGEST_SLEEP_S)

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
            self._give_up(run_id, _unexpected(error))

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
            self._put(live, root_record(request))
        if pipeline.deadline_s:
            self._tell_later(run_id, partial(self._time_out, live), delay_s=max(0.0, _seconds_left(live)))
        self._store.set_run_state(run_id, "RUNNING", at=_wire_time(_now()))
        for record in [r for r in live.records.values() if r.kind.is_leaf and not r.state.is_final]:
            self._resume(live, record)
        self._advance(live)

    def _resume(self, live: LiveRun, record: TaskRecord) -> None:
        """A leaf that was open when the last process died: its own process is dead by now, so run it again.

        Not without end: a task may be what brings the server down, each time.
        """
        if live.request.is_canceling and not is_exit_work(live.walk(), record.path):
            self._end(live, record, TaskState.CANCELED, error=TERMINATED)
        elif record.retry_at:
            self._arm_retry(live, record, record.retry_at)
        elif record.state is TaskState.RUNNING and record.num_resumed >= RESUMES_MAX:
            died = f"the control plane died {record.num_resumed + 1} times while this task ran; it is not begun again"
            self._end(live, record, TaskState.FAILED, error=died)
        else:
            num_resumed = record.num_resumed + (record.state is TaskState.RUNNING)
            self._put(live, record.model_copy(update={"num_resumed": num_resumed}))
            self._launch(live, live.records[record.path], is_resumed=True)

    def _time_out(self, live: LiveRun) -> None:
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
            process, place = live.processes.get(record.path, (None, None))
            if process is not None and place is not None:
                if not self._queue.is_waiting(place):
                    process.stop()
                    continue
                self._queue.leave(place)
                del live.processes[record.path]
            self._end(live, record, TaskState.CANCELED, error=TERMINATED)
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
        for process, place in live.processes.values() if live else ():
            process.stop()
            if self._queue.is_waiting(place):
                self._queue.leave(place)

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
            self._put(live, record_of(begin).model_copy(update={"is_refused": is_refused}))
        record = live.records[step.path]
        if isinstance(step, End):
            self._end(live, record, step.state, outputs=step.outputs, error=step.error)
        elif record.kind.is_leaf:
            self._launch(live, record)

    def _launch(self, live: LiveRun, record: TaskRecord, *, is_resumed: bool = False) -> None:
        _, component = live.task_of(record.path)
        executor = live.pipeline.spec.executor_of(component)
        try:
            if executor.importer and not executor.importer.download_to_workspace:
                self._import(live, record, component, executor.importer)
            elif not self._take_from_cache(live, record):
                self._enqueue(live, record, component, executor, is_resumed=is_resumed)
        except DataRejected as error:
            self._end(live, record, TaskState.FAILED, error=str(error))
        except Exception as error:
            if isinstance(error, sqlite3.Error) or is_out_of_room(error):
                raise
            log.exception("run %s, task %s: an unexpected error", live.run_id, record.path)
            self._end(live, live.records[record.path], TaskState.FAILED, error=_unexpected(error))

    def _enqueue(
        self, live: LiveRun, record: TaskRecord, component: Component, executor: Executor, *, is_resumed: bool
    ) -> None:
        """DataRejected when the task could never start: it asks for too much, or names what is not there."""
        container = executor.container or Container()
        note = "" if self._folders.container_engine else image_note(container.image)
        self._put(live, record.model_copy(update={"image_note": note}))
        record = live.records[record.path]
        demand = demand_of(container.resources, record.inputs.parameters, machine=self._machine)
        kubernetes = live.kubernetes_of(record)
        leaf = LeafAttempt(
            run_id=live.run_id,
            record=record,
            pipeline=live.pipeline,
            component=component,
            container=container,
            kubernetes=kubernetes,
            job=live.job,
            root=live.root,
            memory_bytes_max=demand.memory_bytes_max,
            is_resumed=is_resumed,
            importer=executor.importer,
            num_gpus=demand.request.gpus,
            is_retried=live.task_of(record.path)[0].has_retry_policy,
        )
        process = TaskProcess()
        work = partial(self._work, leaf, process)
        run_at = live.request.created_at
        place = self._queue.put(work, run_at=run_at, request=demand.request, priority=kubernetes.priority)
        live.processes[record.path] = (process, place)

    def _work(self, leaf: LeafAttempt, process: TaskProcess, place: Place) -> None:
        """In a thread of its own, from before the process starts until after it has ended."""
        if self._is_stopping:
            return
        self._tell(leaf.run_id, partial(self._on_started, leaf, process))
        try:
            result = run_leaf(leaf, process, self._folders)
        except Exception as error:
            log.exception("run %s, task %s: an unexpected error", leaf.run_id, leaf.path)
            result = LeafResult(TaskExit.failure(_unexpected(error)))
        self._tell(leaf.run_id, partial(self._on_ended, leaf, process, place, result))

    def _record_in_hand(self, leaf: LeafAttempt, process: TaskProcess) -> tuple[LiveRun, TaskRecord] | None:
        """None when the news is of a process that nobody waits for any more."""
        live = self._live.get(leaf.run_id)
        if live is None or live.processes.get(leaf.path, (None, None))[0] is not process:
            return None
        return live, live.records[leaf.path]

    def _on_started(self, leaf: LeafAttempt, process: TaskProcess) -> None:
        if found := self._record_in_hand(leaf, process):
            live, record = found
            started_at = record.started_at or _now()
            self._put(live, record.model_copy(update={"state": TaskState.RUNNING, "started_at": started_at}))

    def _on_ended(self, leaf: LeafAttempt, process: TaskProcess, place: Place, result: LeafResult) -> None:
        self._queue.leave(place)
        found = self._record_in_hand(leaf, process)
        if found is None:
            return
        live, record = found
        del live.processes[leaf.path]
        if result.exit.is_success:
            self._succeed(live, record, result.outputs)
        elif result.exit.ending is Ending.STOPPED:
            self._end(live, record, TaskState.CANCELED, error=TERMINATED)
        else:
            is_final = result.exit.ending is Ending.EXITED and result.exit.code in leaf.kubernetes.final_exit_codes
            message = with_image(result.exit.message, record.image_note)
            self._fail_or_retry(live, record, message, is_final=is_final)
        self._advance(live)

    def _succeed(self, live: LiveRun, record: TaskRecord, outputs: Values) -> None:
        fingerprint = live.fingerprint_of(record)
        with self._store.transaction():
            if fingerprint:
                self._store.put_cached(live.pipeline.name, fingerprint, outputs)
            self._end(live, record, TaskState.SUCCEEDED, outputs=outputs)

    def _fail_or_retry(self, live: LiveRun, record: TaskRecord, message: str, *, is_final: bool) -> None:
        task, _ = live.task_of(record.path)
        elapsed_s = (_now() - (record.started_at or record.created_at)).total_seconds()
        delay_s = retry_delay_s(task.retry_policy, attempt=record.attempt, elapsed_s=elapsed_s, is_final=is_final)
        if delay_s is None or live.request.is_canceling:
            self._end(live, record, TaskState.FAILED, error=message)
            return
        retry_at = _now() + timedelta(seconds=delay_s)
        attempt = {"attempt": record.attempt + 1, "num_resumed": 0, "retry_at": retry_at}
        self._put(live, record.model_copy(update={"state": TaskState.PENDING, "error": message, **attempt}))
        self._arm_retry(live, live.records[record.path], retry_at)

    def _arm_retry(self, live: LiveRun, record: TaskRecord, retry_at: datetime) -> None:
        delay_s = max(0.0, (retry_at - _now()).total_seconds())
        action = partial(self._retry_leaf, live, record.path, record.attempt)
        self._tell_later(live.run_id, action, delay_s=delay_s)

    def _retry_leaf(self, live: LiveRun, path: str, attempt: int) -> None:
        record = live.records[path]
        is_current = self._live.get(live.run_id) is live and record.attempt == attempt
        if is_current and record.retry_at and not record.state.is_final:
            self._put(live, record.model_copy(update={"retry_at": None, "error": ""}))
            self._launch(live, live.records[path])
            self._advance(live)

    def _import(self, live: LiveRun, record: TaskRecord, component: Component, importer: Importer) -> None:
        job = {**live.job, **task_job_of(live.job, record.path, record.name)}
        artifact = imported_artifact(importer, record.inputs, job=job)
        key = next(iter(component.output_definitions.artifacts), "artifact")
        self._end(live, record, TaskState.SUCCEEDED, outputs=Values(artifacts={key: (artifact,)}))

    def _take_from_cache(self, live: LiveRun, record: TaskRecord) -> bool:
        fingerprint = live.fingerprint_of(record)
        if fingerprint is None:
            return False
        # In one transaction: between the look and the record a sweep could remove what is about to be pointed to.
        with self._store.transaction():
            outputs = self._store.find_cached(live.pipeline.name, fingerprint)
            if outputs is None or not is_intact(outputs):
                return False
            self._end(live, record.model_copy(update={"is_cached": True}), TaskState.SUCCEEDED, outputs=outputs)
        log_path = self._folders.log_of(live.run_id, record.path, record.attempt)
        write_notes(log_path, ["the outputs were taken from the cache; nothing ran."])
        return True

    def _end(
        self, live: LiveRun, record: TaskRecord, state: TaskState, *, outputs: Values | None = None, error: str = ""
    ) -> None:
        now = _now()
        started_at = record.started_at or (None if state is TaskState.SKIPPED else now)
        ended = {"state": state, "error": error, "started_at": started_at, "finished_at": now, "retry_at": None}
        self._put(live, record.model_copy(update={**ended, "outputs": outputs or Values()}))

    def _put(self, live: LiveRun, record: TaskRecord) -> None:
        live.records[record.path] = record
        self._store.put_task(live.run_id, record)


def _unexpected(error: Exception) -> str:
    return f"an unexpected error ended it: {type(error).__name__}: {error}. `ratchet logs control_plane` shows more."


def _seconds_left(live: LiveRun) -> float:
    """Of a run with a deadline. It counts from the start of the run, or of its retry."""
    began_at = live.records[ROOT].started_at or live.request.created_at
    return live.pipeline.deadline_s - (_now() - began_at).total_seconds()


def _now() -> datetime:
    return datetime.now(UTC)


def _wire_time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"
