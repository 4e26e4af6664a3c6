"""ports.TrafficStats in memory: a test says which requests a revision has had."""

import math

from ratchet.core.ports import RevisionCounts

BOUNDS_MS = (1.0, 5.0, 25.0, 100.0, 500.0, 1000.0, math.inf)


class FakeTrafficStats:
    def __init__(self) -> None:
        self._latencies_ms: dict[str, list[float]] = {}
        self._num_errors: dict[str, int] = {}
        self._num_refused: dict[str, int] = {}

    def add(
        self, revision: str, *, num_requests: int, latency_ms: float, num_errors: int = 0, num_refused: int = 0
    ) -> None:
        """That many more requests, so many of them failed or were refused."""
        assert 0 <= num_errors + num_refused <= num_requests
        self._latencies_ms.setdefault(revision, []).extend([latency_ms] * num_requests)
        self._num_errors[revision] = self._num_errors.get(revision, 0) + num_errors
        self._num_refused[revision] = self._num_refused.get(revision, 0) + num_refused

    def fetch_counts(self, revision: str) -> RevisionCounts:
        latencies_ms = self._latencies_ms.get(revision, [])
        if not latencies_ms:
            return RevisionCounts()
        return RevisionCounts(
            num_requests=len(latencies_ms),
            num_errors=self._num_errors[revision],
            num_refused=self._num_refused[revision],
            num_by_latency_ms={bound: sum(each <= bound for each in latencies_ms) for bound in BOUNDS_MS},
        )
