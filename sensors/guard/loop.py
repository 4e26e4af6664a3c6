"""The guard's thread: a look at every task every few seconds, whatever is down around it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from ratchet.actions.rollout.guard_report import GuardReport
from ratchet.core.errors import RatchetError
from wire.heartbeat import Heartbeat
from wire.loop import Loop

log = logging.getLogger(__name__)

OnLook = Callable[[GuardReport], None]


class GuardLoop:
    """Looks until it is stopped. One thread: a deed on one task (a rollback) delays the looks at others by seconds."""

    def __init__(
        self,
        look: Callable[[str], GuardReport],
        list_tasks: Callable[[], Sequence[str]],
        *,
        interval_s: float,
        on_look: OnLook,
    ) -> None:
        self._look = look
        self._list_tasks = list_tasks
        self._on_look = on_look
        self._newest: dict[str, GuardReport] = {}
        self._loop = Loop("guard", self._look_at_all, pause_s=interval_s, first_pause_s=0.0, late_s_max=600.0)

    @property
    def heartbeat(self) -> Heartbeat:
        return self._loop.heartbeat

    def start(self) -> None:
        self._loop.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Let the look under way finish; whether it did in time. One that is cut off is finished by the next start."""
        return self._loop.stop(timeout_s=timeout_s)

    def newest(self) -> Mapping[str, GuardReport]:
        """The last look at each task."""
        return dict(self._newest)

    def _look_at_all(self) -> None:
        for task in self._known_tasks():
            if self._loop.is_stopping:
                return
            self.heartbeat.beat()
            self._remember(self._look_safely(task))

    def _known_tasks(self) -> Sequence[str]:
        try:
            tasks = self._list_tasks()
        except Exception as error:  # whatever is wrong with the files, the next look comes
            log.error("cannot list the task files: %s", error)
            return ()
        for gone in self._newest.keys() - set(tasks):
            del self._newest[gone]
        return tasks

    def _look_safely(self, task: str) -> GuardReport:
        try:
            return self._look(task)
        except RatchetError as error:
            reason = f"{type(error).__name__}: {error}"
        except Exception as error:  # a defect in one look must not end all future ones
            reason = f"{type(error).__name__}: {error}"
            if self._is_news(task, reason):
                log.exception("unexpected error in the look at %s", task)
        return GuardReport(task=task, at=datetime.now(UTC), outcome="error", reason=reason)

    def _is_news(self, task: str, reason: str) -> bool:
        newest = self._newest.get(task)
        return newest is None or newest.reason != reason

    def _remember(self, report: GuardReport) -> None:
        before = self._newest.get(report.task)
        if before is None or before.outcome != report.outcome:
            level = logging.INFO if report.outcome in _QUIET else logging.WARNING
            extra = {"task": report.task, "outcome": report.outcome, "champion": report.champion}
            log.log(level, "%s: %s: %s", report.task, report.outcome, report.reason, extra=extra)
        self._newest[report.task] = report
        try:
            self._on_look(report)
        except Exception:
            log.exception("the look at %s could not be noted", report.task)


_QUIET = frozenset({"absent", "rollout", "learning", "well"})
