"""The sensor's thread: a round of ticks every few seconds, and at once for a task that was hinted at."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from ratchet.core.errors import RatchetError
from sensors.label_sensor.tick import TickReport

log = logging.getLogger(__name__)

HISTORY_MAX = 100
"""Ticks that a task remembers; equal ones in a row are kept as one."""


class SensorLoop:
    """Ticks until it is stopped. What it remembers is for people to see: decisions read S3 and KFP anew each time."""

    def __init__(
        self,
        tick: Callable[[str], TickReport],
        list_tasks: Callable[[], Sequence[str]],
        *,
        interval_s: float,
    ) -> None:
        self._tick = tick
        self._list_tasks = list_tasks
        self._interval_s = interval_s
        self._changed = threading.Condition()
        self._hinted: set[str] = set()
        self._stopping = False
        self._ticking = ""
        self._num_rounds = 0
        self._num_ticks: dict[str, int] = {}
        self._newest: dict[str, TickReport] = {}
        self._history: dict[str, deque[TickReport]] = {}
        self._thread = threading.Thread(target=self._run, name="sensor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Let the tick that is under way finish; whether it did in time. A tick that is cut off is settled later."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def hint(self, task: str) -> int:
        """Tick this task soon; gives the number of that tick. Hints that come before it are one."""
        with self._changed:
            self._hinted.add(task)
            self._changed.notify_all()
            return self._num_ticks.get(task, 0) + (2 if self._ticking == task else 1)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def has_looked(self) -> bool:
        """Whether a first round over all tasks is done."""
        return self._num_rounds > 0

    def newest(self) -> dict[str, TickReport]:
        """The last tick of each task."""
        with self._changed:
            return dict(self._newest)

    def num_ticks(self, task: str) -> int:
        with self._changed:
            return self._num_ticks.get(task, 0)

    def history(self, task: str) -> list[TickReport]:
        """Newest first."""
        with self._changed:
            return list(reversed(self._history.get(task, ())))

    def _run(self) -> None:
        next_round_at = 0.0
        while not self._stopping:
            if time.monotonic() >= next_round_at:
                next_round_at = time.monotonic() + self._interval_s
                self._tick_all(self._known_tasks())
                self._num_rounds += 1
            else:
                self._tick_all(self._take_hints(wait_until=next_round_at))

    def _take_hints(self, *, wait_until: float) -> set[str]:
        with self._changed:
            if not self._hinted and not self._stopping:
                self._changed.wait(max(wait_until - time.monotonic(), 0.0))
            hinted, self._hinted = self._hinted, set()
            return hinted

    def _tick_all(self, tasks: Iterable[str]) -> None:
        for task in tasks:
            if self._stopping:
                return
            with self._changed:
                self._hinted.discard(task)
                self._ticking = task
            self._remember(self._tick_safely(task))

    def _known_tasks(self) -> Sequence[str]:
        try:
            return self._list_tasks()
        except OSError as error:
            log.error("cannot list the task files: %s", error)
            return ()

    def _tick_safely(self, task: str) -> TickReport:
        """A server that is down, or a file that is wrong, is an outcome: the sensor goes on."""
        try:
            return self._tick(task)
        except RatchetError as error:
            reason = f"{type(error).__name__}: {error}"
        except Exception as error:  # a defect in one tick must not end all future ones
            reason = f"{type(error).__name__}: {error}"
            if self._is_news(task, reason):
                log.exception("tick of %s failed in a way that nobody planned for", task)
        return TickReport(task=task, at=datetime.now(UTC), outcome="error", reason=reason)

    def _is_news(self, task: str, reason: str) -> bool:
        newest = self._newest.get(task)
        return newest is None or newest.reason != reason

    def _remember(self, report: TickReport) -> None:
        task = report.task
        is_news = self._is_news(task, report.reason)
        if is_news:
            _log_tick(report)
        with self._changed:
            history = self._history.setdefault(task, deque(maxlen=HISTORY_MAX))
            if not is_news and history:
                history.pop()
            history.append(report)
            self._newest[task] = report
            self._num_ticks[task] = self._num_ticks.get(task, 0) + 1
            self._ticking = ""
            self._changed.notify_all()


def _log_tick(report: TickReport) -> None:
    level = logging.WARNING if report.outcome == "error" else logging.INFO
    run = f" run={report.run_name} run_id={report.run_id}" if report.run_name else ""
    log.log(
        level,
        "tick task=%s outcome=%s pending=%s%s: %s",
        report.task,
        report.outcome,
        report.num_pending,
        run,
        report.reason,
    )
