"""The leaf tasks of live runs: launched, resumed, repeated, cancelled, and what follows from the end of a process.

Called by the deciding thread alone, but for `_work`, which a thread of the pool runs.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from embedded.control_plane.engine.attempt import Folders, LeafAttempt, write_notes
from embedded.control_plane.engine.cache import is_intact
from embedded.control_plane.engine.executor_io import imported_artifact
from embedded.control_plane.engine.executors import Container, Executor, Importer
from embedded.control_plane.engine.images import image_note, with_image
from embedded.control_plane.engine.inbox import Inbox
from embedded.control_plane.engine.job import task_job_of
from embedded.control_plane.engine.leaf import LeafResult, run_leaf
from embedded.control_plane.engine.live_run import LiveRun
from embedded.control_plane.engine.machine import measure_machine
from embedded.control_plane.engine.plan import TERMINATED, retry_delay_s
from embedded.control_plane.engine.records import TaskRecord, TaskState
from embedded.control_plane.engine.resources import Amount, demand_of
from embedded.control_plane.engine.retry import is_exit_work
from embedded.control_plane.engine.room import is_out_of_room
from embedded.control_plane.engine.spec import Component
from embedded.control_plane.engine.task_process import Ending, TaskExit, TaskProcess
from embedded.control_plane.engine.task_queue import Place, TaskQueue
from embedded.control_plane.engine.task_store import TaskStore
from embedded.control_plane.engine.values import Values
from embedded.control_plane.errors import DataRejected

log = logging.getLogger(__name__)
RESUMES_MAX = 25
"""Of one attempt, over restarts of this server. A machine that is switched off every night must not end a long task."""
_NUM_WORKERS_MIN = 8
"""Tasks that ask for nothing run this many at once even on a small machine: most of them wait for something else."""


class Tasks:
    def __init__(
        self,
        store: TaskStore,
        folders: Folders,
        inbox: Inbox,
        live: Mapping[str, LiveRun],
        *,
        machine: Amount | None,
        advance: Callable[[LiveRun], None],
    ) -> None:
        """live: the runs by their ids, which their owner changes. advance: takes the steps of a run that are open."""
        self._store = store
        self._folders = folders
        self._inbox = inbox
        self._live = live
        self._advance = advance
        self._machine = machine or measure_machine()
        self._queue = TaskQueue(self._machine, num_workers=max(_NUM_WORKERS_MIN, 2 * (os.cpu_count() or 1)))
        self.is_stopping = False
        """Nothing is started any more."""

    def shutdown(self) -> None:
        self._queue.shutdown()

    def cancel(self, live: LiveRun, record: TaskRecord) -> None:
        """End a leaf: at once when it waits, else as soon as its process has ended."""
        process, place = live.processes.get(record.path, (None, None))
        if process is not None and place is not None:
            if not self._queue.is_waiting(place):
                process.stop()
                return
            self._queue.leave(place)
            del live.processes[record.path]
        self.end(live, record, TaskState.CANCELED, error=TERMINATED)

    def drop_all(self, live: LiveRun) -> None:
        """Stop the processes of a run that nobody waits for any more."""
        for process, place in live.processes.values():
            process.stop()
            if self._queue.is_waiting(place):
                self._queue.leave(place)

    def resume(self, live: LiveRun, record: TaskRecord) -> None:
        """A leaf that was open when the last process died: its own process is dead by now, so run it again.

        Not without end: a task may be what brings the server down, each time.
        """
        if live.request.is_canceling and not is_exit_work(live.walk(), record.path):
            self.end(live, record, TaskState.CANCELED, error=TERMINATED)
        elif record.retry_at:
            self._arm_retry(live, record, record.retry_at)
        elif record.state is TaskState.RUNNING and record.num_resumed >= RESUMES_MAX:
            died = f"the control plane died {record.num_resumed + 1} times while this task ran; it is not begun again"
            self.end(live, record, TaskState.FAILED, error=died)
        else:
            num_resumed = record.num_resumed + (record.state is TaskState.RUNNING)
            self.put(live, record.model_copy(update={"num_resumed": num_resumed}))
            self.launch(live, live.records[record.path], is_resumed=True)

    def launch(self, live: LiveRun, record: TaskRecord, *, is_resumed: bool = False) -> None:
        _, component = live.task_of(record.path)
        executor = live.pipeline.spec.executor_of(component)
        try:
            if executor.importer and not executor.importer.download_to_workspace:
                self._import(live, record, component, executor.importer)
            elif not self._take_from_cache(live, record):
                self._enqueue(live, record, component, executor, is_resumed=is_resumed)
        except DataRejected as error:
            self.end(live, record, TaskState.FAILED, error=str(error))
        except Exception as error:
            # For these the engine pauses: a failed task could not be written down either.
            if isinstance(error, sqlite3.Error) or is_out_of_room(error):
                raise
            log.exception("run %s, task %s: an unexpected error", live.run_id, record.path)
            self.end(live, live.records[record.path], TaskState.FAILED, error=unexpected(error))

    def _enqueue(
        self, live: LiveRun, record: TaskRecord, component: Component, executor: Executor, *, is_resumed: bool
    ) -> None:
        """DataRejected when the task could never start: it asks for too much, or names what is not there."""
        container = executor.container or Container()
        note = "" if self._folders.container_engine else image_note(container.image)
        self.put(live, record.model_copy(update={"image_note": note}))
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
        if self.is_stopping:
            # It stays PENDING in the store, and the next start runs it.
            return
        self._inbox.tell(leaf.run_id, partial(self._on_started, leaf, process))
        try:
            result = run_leaf(leaf, process, self._folders)
        except (Exception, SystemExit) as error:  # a pool keeps both to itself, and the run would wait without an end
            log.exception("run %s, task %s: an unexpected error", leaf.run_id, leaf.path)
            result = LeafResult(TaskExit.failure(unexpected(error)))
        self._inbox.tell(leaf.run_id, partial(self._on_ended, leaf, process, place, result))

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
            self.put(live, record.model_copy(update={"state": TaskState.RUNNING, "started_at": started_at}))

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
            self.end(live, record, TaskState.CANCELED, error=TERMINATED)
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
            self.end(live, record, TaskState.SUCCEEDED, outputs=outputs)

    def _fail_or_retry(self, live: LiveRun, record: TaskRecord, message: str, *, is_final: bool) -> None:
        task, _ = live.task_of(record.path)
        elapsed_s = (_now() - (record.started_at or record.created_at)).total_seconds()
        delay_s = retry_delay_s(task.retry_policy, attempt=record.attempt, elapsed_s=elapsed_s, is_final=is_final)
        if delay_s is None or live.request.is_canceling:
            self.end(live, record, TaskState.FAILED, error=message)
            return
        retry_at = _now() + timedelta(seconds=delay_s)
        attempt = {"attempt": record.attempt + 1, "num_resumed": 0, "retry_at": retry_at}
        self.put(live, record.model_copy(update={"state": TaskState.PENDING, "error": message, **attempt}))
        self._arm_retry(live, live.records[record.path], retry_at)

    def _arm_retry(self, live: LiveRun, record: TaskRecord, retry_at: datetime) -> None:
        delay_s = max(0.0, (retry_at - _now()).total_seconds())
        action = partial(self._retry_leaf, live, record.path, record.attempt)
        self._inbox.tell_later(live.run_id, action, delay_s=delay_s)

    def _retry_leaf(self, live: LiveRun, path: str, attempt: int) -> None:
        record = live.records[path]
        # A timer of an earlier attempt, or from before the run was retried, comes too late.
        is_current = self._live.get(live.run_id) is live and record.attempt == attempt
        if is_current and record.retry_at and not record.state.is_final:
            self.put(live, record.model_copy(update={"retry_at": None, "error": ""}))
            self.launch(live, live.records[path])
            self._advance(live)

    def _import(self, live: LiveRun, record: TaskRecord, component: Component, importer: Importer) -> None:
        job = {**live.job, **task_job_of(live.job, record.path, record.name)}
        artifact = imported_artifact(importer, record.inputs, job=job)
        key = next(iter(component.output_definitions.artifacts), "artifact")
        self.end(live, record, TaskState.SUCCEEDED, outputs=Values(artifacts={key: (artifact,)}))

    def _take_from_cache(self, live: LiveRun, record: TaskRecord) -> bool:
        fingerprint = live.fingerprint_of(record)
        if fingerprint is None:
            return False
        # In one transaction: between the look and the record a sweep could remove what is about to be pointed to.
        with self._store.transaction():
            outputs = self._store.find_cached(live.pipeline.name, fingerprint)
            if outputs is None or not is_intact(outputs):
                return False
            self.end(live, record.model_copy(update={"is_cached": True}), TaskState.SUCCEEDED, outputs=outputs)
        log_path = self._folders.log_of(live.run_id, record.path, record.attempt)
        write_notes(log_path, ["the outputs were taken from the cache; nothing ran."])
        return True

    def end(
        self, live: LiveRun, record: TaskRecord, state: TaskState, *, outputs: Values | None = None, error: str = ""
    ) -> None:
        now = _now()
        started_at = record.started_at or (None if state is TaskState.SKIPPED else now)
        ended = {"state": state, "error": error, "started_at": started_at, "finished_at": now, "retry_at": None}
        self.put(live, record.model_copy(update={**ended, "outputs": outputs or Values()}))

    def put(self, live: LiveRun, record: TaskRecord) -> None:
        # Memory first is safe: when the store refuses, the engine forgets the run and reads it anew.
        live.records[record.path] = record
        self._store.put_task(live.run_id, record)


def unexpected(error: BaseException) -> str:
    return f"an unexpected error ended it: {type(error).__name__}: {error}. `ratchet logs control_plane` shows more."


def _now() -> datetime:
    return datetime.now(UTC)
