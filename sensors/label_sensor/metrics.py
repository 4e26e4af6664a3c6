"""What Prometheus sees of the sensor. docs/runbook.md says which of these to alert on."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sensors.label_sensor.tick import TickReport

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class SensorMetrics:
    """A registry of its own: two sensors in one process (a test) do not meet."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._pending = self._gauge("pending_labels", "New labels that no accepted dataset version holds", "task")
        self._pending_of_class = self._gauge("pending_labels_of_class", "The same, of one class", "task", "label")
        self._threshold = self._gauge("threshold_labels", "New labels that are worth a run now", "task")
        self._oldest_at = self._gauge("oldest_label_timestamp_seconds", "Landing of the oldest; 0 = none", "task")
        self._oldest_age = self._gauge("oldest_label_age_seconds", "Age of the oldest at the scrape; 0 = none", "task")
        self._last_tick_at = self._gauge("last_tick_timestamp_seconds", "End of the last tick", "task")
        self._last_tick_age = self._gauge("last_tick_age_seconds", "Time since then at the scrape", "task")
        self._ticks = Counter(
            "ratchet_sensor_ticks", "Ticks by what came of them", ("task", "outcome", "code"), registry=self._registry
        )
        self._tick_s = self._histogram("tick_seconds", "How long a tick takes", _SECONDS)
        self._submit_s = self._histogram("submit_seconds", "From the decision to the recorded run", _SECONDS)
        self._lag_s = self._histogram("lag_seconds", "From the landing of the newest label to its run", _LAG_SECONDS)
        self._requests = Counter(
            "ratchet_sensor_event_requests", "POST /events by answer", ("status",), registry=self._registry
        )
        self._hints = Counter("ratchet_sensor_hints", "Events that made it look", ("task",), registry=self._registry)
        self._ignored = Counter("ratchet_sensor_events_ignored", "Events about other objects", registry=self._registry)
        self._classes: dict[str, set[str]] = {}

    def note_tick(self, report: TickReport, took_s: float) -> None:
        task = report.task
        self._ticks.labels(task, report.outcome, report.code).inc()
        self._tick_s.labels(task).observe(took_s)
        self._last_tick_at.labels(task).set(time.time())
        if report.num_pending is not None:
            self._note_backlog(report)
        if report.outcome == "trigger":
            self._note_run(report)

    def note_request(self, status: int) -> None:
        self._requests.labels(str(status)).inc()

    def note_hints(self, tasks: Sequence[str], *, num_ignored: int) -> None:
        for task in tasks:
            self._hints.labels(task).inc()
        self._ignored.inc(num_ignored)

    def forget(self, task: str) -> None:
        """A task whose file is gone has no backlog to alert on; its counters stay."""
        gauges = (self._pending, self._threshold, self._oldest_at, self._oldest_age)
        for gauge in (*gauges, self._last_tick_at, self._last_tick_age):
            gauge.remove_by_labels({"task": task})
        self._pending_of_class.remove_by_labels({"task": task})
        self._classes.pop(task, None)

    def render(self) -> bytes:
        """The text that a scrape gets."""
        now = time.time()
        for at, age in ((self._oldest_at, self._oldest_age), (self._last_tick_at, self._last_tick_age)):
            for sample in (sample for metric in at.collect() for sample in metric.samples):
                age.labels(sample.labels["task"]).set(max(now - sample.value, 0.0) if sample.value else 0.0)
        return generate_latest(self._registry)

    def _note_backlog(self, report: TickReport) -> None:
        task = report.task
        self._pending.labels(task).set(report.num_pending or 0)
        self._threshold.labels(task).set(report.threshold_now or report.threshold or 0)
        self._oldest_at.labels(task).set(report.oldest_at.timestamp() if report.oldest_at else 0)
        known = self._classes.setdefault(task, set())
        known.update(report.num_by_class)
        for name in known:
            self._pending_of_class.labels(task, name).set(report.num_by_class.get(name, 0))

    def _note_run(self, report: TickReport) -> None:
        if report.submit_s is not None:
            self._submit_s.labels(report.task).observe(report.submit_s)
        if report.newest_at is not None:
            lag_s = (datetime.now(UTC) - report.newest_at).total_seconds()
            self._lag_s.labels(report.task).observe(max(lag_s, 0.0))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"ratchet_sensor_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"ratchet_sensor_{name}", text, ("task",), buckets=buckets, registry=self._registry)
