"""What Prometheus sees of the guard. docs/runbook.md says which of these to alert on."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from ratchet.actions.rollout.guard_report import GuardReport


class GuardMetrics:
    """A registry of its own: two guards in one process (a test) do not meet."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._looks = Counter(
            "ratchet_guard_looks", "Looks by what they saw", ("task", "outcome"), registry=self._registry
        )
        self._state = Gauge(
            "ratchet_guard_state", "1 for the outcome of the last look", ("task", "outcome"), registry=self._registry
        )
        self._serving = Gauge(
            "ratchet_champion_serving",
            "1 while a task's champion answers its users, 0 while it does not",
            ("task",),
            registry=self._registry,
        )
        self._last_look_at = Gauge(
            "ratchet_guard_last_look_timestamp_seconds", "End of the last look", ("task",), registry=self._registry
        )
        self._differs = Gauge(
            "ratchet_guard_registry_differs",
            "1 while MLflow cannot be made to agree",
            ("task",),
            registry=self._registry,
        )
        self._repairs = Gauge(
            "ratchet_guard_registry_repairs", "Aliases set back in MLflow", ("task",), registry=self._registry
        )
        self._feedback = Counter("ratchet_guard_feedback", "True labels taken in", ("task",), registry=self._registry)
        self._refused = Counter(
            "ratchet_guard_feedback_refused", "POST /v1/feedback by error", ("status",), registry=self._registry
        )
        self._last_outcome: dict[str, str] = {}

    def note_look(self, report: GuardReport) -> None:
        task = report.task
        self._looks.labels(task, report.outcome).inc()
        if (before := self._last_outcome.get(task)) not in {None, report.outcome}:
            self._state.labels(task, before).set(0)
        self._state.labels(task, report.outcome).set(1)
        self._last_outcome[task] = report.outcome
        if report.is_serving is not None:
            self._serving.labels(task).set(report.is_serving)
        self._last_look_at.labels(task).set(time.time())
        self._differs.labels(task).set(1 if report.registry else 0)
        self._repairs.labels(task).set(report.num_repairs)

    def note_feedback(self, task: str, num: int) -> None:
        self._feedback.labels(task).inc(num)

    def note_refused(self, status: int) -> None:
        self._refused.labels(str(status)).inc()

    def render(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self._registry)
