"""When which task is ticked: all of them every few seconds, and at once one that was hinted at."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from ratchet.core.errors import RatchetError
from sensors.label_sensor.tick import TickReport
from sensors.label_sensor.tick_log import TickEntry, TickLog
from wire.heartbeat import Heartbeat

log = logging.getLogger(__name__)

NUM_THREADS = 4
"""Tasks that are ticked at the same time: one that waits for a server holds up none of the others."""
STUCK_AFTER_S = 600.0
"""Every wait in a tick has a deadline, and together they are far below this: then only a restart helps."""
GAP_S_MAX = 1.0
"""After a tick a task rests as long as the tick took, up to this: a storm of hints costs half a thread at most."""
FIRST_LOOK_S = 10.0
"""The first round goes task by task, the highest priority first, because nobody knows yet who is due; no longer though
than this."""

OnTick = Callable[[TickReport, float], None]


def _ignore(report: TickReport, took_s: float) -> None:
    pass


class SensorLoop:
    """Ticks until it is stopped; a task never twice at a time. What it remembers is for people and for fairness among
    tasks: whether a run starts is read from S3 and KFP each time."""

    def __init__(
        self,
        tick: Callable[[str], TickReport],
        list_tasks: Callable[[], Sequence[str]],
        *,
        interval_s: float,
        priority_of: Callable[[str], int] = lambda task: 0,
        ticks: TickLog | None = None,
        on_tick: OnTick = _ignore,
        on_gone: Callable[[str], None] = lambda task: None,
    ) -> None:
        self._tick = tick
        self._list_tasks = list_tasks
        self._interval_s = interval_s
        self._priority_of = priority_of
        self._ticks = ticks or TickLog()
        self._on_tick = on_tick
        self._on_gone = on_gone
        self._changed = threading.Condition()
        self._stopping = False
        self._began_at = float("inf")
        self._next_round_at = 0.0
        self._priorities: dict[str, int] = {}
        """Of the known tasks; their names are its keys."""
        self._due: dict[str, float] = {}
        """Task to the moment since when a tick is wanted."""
        self._ticking: dict[str, float] = {}
        """Task to the moment at which the tick under way began."""
        self._rests_until: dict[str, float] = {}
        self._num_ticks: dict[str, int] = {}
        self._newest: dict[str, TickReport] = {}
        self._last_seen: dict[str, TickReport] = {}
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"ticks-{number}", daemon=True)
            for number in range(NUM_THREADS)
        ]
        self.heartbeats = [Heartbeat(thread.name, late_s_max=STUCK_AFTER_S) for thread in self._threads]

    def start(self) -> None:
        self._began_at = time.monotonic()
        for thread, heartbeat in zip(self._threads, self.heartbeats, strict=True):
            thread.start()
            heartbeat.begin(thread.is_alive)

    def stop(self, *, timeout_s: float) -> bool:
        """Let the ticks that are under way finish; whether they did in time. One that is cut off is followed up."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(deadline - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def hint(self, task: str) -> int:
        """Tick this task soon; gives the number of that tick. Hints that come before it are one."""
        with self._changed:
            self._due.setdefault(task, time.monotonic())
            self._changed.notify_all()
            # A tick under way may have listed the labels before the hint came: only the one after it answers.
            return self._num_ticks.get(task, 0) + (2 if task in self._ticking else 1)

    @property
    def has_looked(self) -> bool:
        """Whether every task was ticked since the start."""
        return self._next_round_at > 0 and self._priorities.keys() <= self._newest.keys()

    def newest(self) -> dict[str, TickReport]:
        """The last tick of each task."""
        with self._changed:
            return dict(self._newest)

    def see(self, report: TickReport) -> None:
        """What a tick under way has come to, for the decisions of the others."""
        with self._changed:
            self._last_seen[report.task] = report

    def last_seen(self) -> dict[str, TickReport]:
        """The last tick of each task that could look: an outage does not make a run that it hides invisible."""
        with self._changed:
            return dict(self._last_seen)

    def priorities(self) -> Mapping[str, int]:
        with self._changed:
            return dict(self._priorities)

    def num_ticks(self, task: str) -> int:
        with self._changed:
            return self._num_ticks.get(task, 0)

    def history(self, task: str) -> list[TickEntry]:
        """Newest first."""
        return self._ticks.history(task)

    def _run(self, number: int) -> None:
        while (task := self._take_next(self.heartbeats[number])) is not None:
            self.heartbeats[number].beat()
            began_at = time.monotonic()
            report = self._tick_safely(task)
            self._remember(report, took_s=time.monotonic() - began_at)

    def _take_next(self, heartbeat: Heartbeat) -> str | None:
        """The task to tick, once there is one; None when it is time to stop."""
        with self._changed:
            while not self._stopping:
                heartbeat.beat(next_in_s=self._interval_s)
                now = time.monotonic()
                if now >= self._next_round_at:
                    self._begin_round(now)
                if ready := self._ready(now):
                    del self._due[ready[0]]
                    self._ticking[ready[0]] = now
                    return ready[0]
                self._changed.wait(max(self._next_change_at(now) - now, 0.0))
        return None

    def _begin_round(self, now: float) -> None:
        """Want a tick of every task; not of one whose tick is under way, it looks as freshly."""
        self._next_round_at = now + self._interval_s
        try:
            tasks = tuple(self._list_tasks())
            for gone in self._priorities.keys() - set(tasks):
                self._forget(gone)
        except Exception as error:  # whatever is wrong with the files, the known tasks are ticked
            log.error("cannot list the task files: %s", error)
            tasks = tuple(self._priorities)
        self._priorities = {task: self._priority_safely(task) for task in tasks}
        for task in tasks:
            if task not in self._ticking:
                self._due.setdefault(task, now)
        self._changed.notify_all()

    def _ready(self, now: float) -> list[str]:
        """Tasks that may be ticked now: the highest priority first, then who has waited longest."""
        if self._waits_for_first_look(now):
            return []
        rested = (task for task in self._due if now >= self._rests_until.get(task, 0.0))
        free = [task for task in rested if task not in self._ticking]
        return sorted(free, key=lambda task: (-self._priorities.get(task, 0), self._due[task]))

    def _next_change_at(self, now: float) -> float:
        """When somebody may be ready next, if nothing happens before."""
        if self._waits_for_first_look(now):
            return min(self._next_round_at, self._began_at + FIRST_LOOK_S)
        rested = (self._rests_until.get(task, 0.0) for task in self._due if task not in self._ticking)
        return min([self._next_round_at, *rested])

    def _waits_for_first_look(self, now: float) -> bool:
        return bool(self._ticking) and not self.has_looked and now < self._began_at + FIRST_LOOK_S

    def _priority_safely(self, task: str) -> int:
        """A policy file that is wrong has its say in the tick's report."""
        try:
            return self._priority_of(task)
        except Exception:
            return 0

    def _tick_safely(self, task: str) -> TickReport:
        """A server that is down, or a file that is wrong, is an outcome: the sensor goes on."""
        try:
            return self._tick(task)
        except RatchetError as error:
            return _report_of(error, task)
        except Exception as error:  # a defect in one tick must not end all future ones
            report = _report_of(error, task)
            if self._is_news(report):
                log.exception("unexpected error in the tick of %s", task, extra={"task": task})
            return report

    def _is_news(self, report: TickReport) -> bool:
        newest = self._newest.get(report.task)
        return newest is None or newest.reason != report.reason

    def _remember(self, report: TickReport, *, took_s: float) -> None:
        task = report.task
        with self._changed:
            is_known = task in self._priorities
        if is_known:
            self._tell(report, took_s)
        with self._changed:
            if is_known:
                self._newest[task] = report
                if report.outcome != "error":
                    self._last_seen[task] = report
            self._num_ticks[task] = self._num_ticks.get(task, 0) + 1
            self._rests_until[task] = time.monotonic() + min(took_s, GAP_S_MAX)
            del self._ticking[task]
            self._changed.notify_all()

    def _tell(self, report: TickReport, took_s: float) -> None:
        """A metric or a log that fails costs no task its next tick."""
        try:
            self._on_tick(report, took_s)
            if self._ticks.note(report):
                _log_tick(report)
        except Exception:
            log.exception("the tick of %s could not be noted", report.task, extra={"task": report.task})

    def _forget(self, task: str) -> None:
        for known in (self._due, self._newest, self._last_seen, self._rests_until, self._num_ticks):
            known.pop(task, None)
        self._ticks.forget(task)
        self._on_gone(task)


def _report_of(error: Exception, task: str) -> TickReport:
    name = type(error).__name__
    return TickReport(task=task, at=datetime.now(UTC), outcome="error", reason=f"{name}: {error}")


def _log_tick(report: TickReport) -> None:
    level = logging.WARNING if report.outcome == "error" else logging.INFO
    names = {"task", "outcome", "code", "num_pending", "threshold_now", "run_name", "run_id", "submit_s"}
    log.log(level, "%s: %s", report.task, report.reason, extra=report.model_dump(mode="json", include=names))
