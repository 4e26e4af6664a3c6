"""The guard's other thread: deletes records whose time is over, and measures what each kind takes."""

import logging
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from ratchet.actions.retention import Swept
from ratchet.actions.space import SpaceReport
from ratchet.core.errors import RatchetError
from wire.heartbeat import Heartbeat
from wire.loop import Loop

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 30.0
_PAUSE_S = 3600.0
_HASTE_S = 5.0
"""Between two passes while more is due: a server of ours writes an object a second, and a pass deletes 500."""
OBJECTS_PER_PASS = 500


class SweepLoop:
    """Sweeps until it is stopped. No look at a champion waits for it, no failure of it reaches one."""

    def __init__(
        self,
        sweep: Callable[[], Swept],
        measure: Callable[[], SpaceReport],
        *,
        first_pause_s: float = _FIRST_PAUSE_S,
        pause_s: float = _PAUSE_S,
        haste_s: float = _HASTE_S,
    ) -> None:
        self._sweep, self._measure = sweep, measure
        self._pause_s, self._haste_s = pause_s, haste_s
        self._is_failing = False
        self._space: SpaceReport | None = None
        self._metrics = _Metrics()
        self._loop = Loop("retention", self.pass_once, pause_s=pause_s, first_pause_s=first_pause_s, late_s_max=3600.0)

    @property
    def heartbeat(self) -> Heartbeat:
        return self._loop.heartbeat

    def start(self) -> None:
        self._loop.start()

    def stop(self, *, timeout_s: float) -> None:
        """A pass that is cut off is gone on with by the next."""
        self._loop.stop(timeout_s=timeout_s)

    def space(self) -> SpaceReport | None:
        """The newest measurement; None before the first."""
        return self._space

    def render_metrics(self) -> bytes:
        return self._metrics.render()

    def pass_once(self) -> float:
        """One pass; how long to wait for the next, seconds."""
        try:
            swept = self._sweep()
            self._metrics.note_swept(swept)
            if swept.is_cut_off:
                return self._haste_s
            self._space = self._measure()
            self._metrics.note_space(self._space)
            self._is_failing = False
        except Exception as error:  # a defect here must not end all future passes
            self._metrics.note_failure()
            if not self._is_failing:
                is_planned = isinstance(error, RatchetError)
                log.warning("cannot delete old records: %s", error, exc_info=None if is_planned else error)
            self._is_failing = True
            return min(self._pause_s, _FIRST_PAUSE_S)
        return self._pause_s


class _Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._deleted = self._counter(
            "ratchet_retention_deleted", "Objects deleted because their time was over", "kind"
        )
        self._bytes = self._counter("ratchet_retention_deleted_bytes", "Bytes of those objects", "kind")
        self._failures = self._counter("ratchet_retention_failures", "Passes that failed")
        self._last_at = Gauge(
            "ratchet_retention_last_pass_timestamp_seconds", "End of the last pass", registry=self._registry
        )
        self._size = Gauge(
            "ratchet_space_bytes",
            "Bytes in the object store at the last measurement",
            ("kind",),
            registry=self._registry,
        )

    def note_swept(self, swept: Swept) -> None:
        for kind, num in swept.num.items():
            self._deleted.labels(kind).inc(num)
            self._bytes.labels(kind).inc(swept.size_bytes[kind])
        if sum(swept.num.values()):
            told = ", ".join(f"{num} of {kind}" for kind, num in swept.num.items())
            log.info("deleted expired records: %s", told)
        self._last_at.set(time.time())

    def note_space(self, space: SpaceReport) -> None:
        for size in space.sizes:
            self._size.labels(size.kind).set(size.size_bytes)

    def note_failure(self) -> None:
        self._failures.inc()

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)
