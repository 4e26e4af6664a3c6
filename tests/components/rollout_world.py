"""A cluster in miniature on a clock that does not wait: KServe's traffic rule, revisions that take time, live traffic.

It can be pickled as a whole, so that a test can kill the process that acts on it and go on with what was left.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from embedded.control_plane import revisions
from ratchet.actions.rollouts import RolloutPorts
from ratchet.core.errors import Unavailable
from ratchet.core.ledger import ModelRef
from ratchet.core.ports import RevisionCounts, ServiceState
from tests.fakes.ledger import FakeLedger
from tests.fakes.registry import FakeRegistry

TASK = "digits"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAST_MS, SLOW_MS = 5.0, 900.0
BUCKETS_MS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, float("inf"))


def model(name: str, version: str) -> ModelRef:
    return ModelRef(version=version, digest=name, uri=f"s3://models/{TASK}/{name}", dataset_version="digits/v1")


CHAMPION, CHALLENGER, NEWCOMER = model("champion", "1"), model("challenger", "2"), model("newcomer", "3")


@dataclass(frozen=True)
class Behaviour:
    """How a model serves."""

    error_ratio: float = 0.0
    slow_ratio: float = 0.0
    ready_after_s: float = 4.0


@dataclass
class World:
    """The clock, the InferenceService and the gateway's counters; time passes only while somebody sleeps."""

    requests_per_s: float = 80.0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    status_lag_s: float = 0.3
    stats_down_after_s: float = float("inf")
    ledger: FakeLedger = field(default_factory=FakeLedger)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    elapsed: float = 0.0
    uri: str = ""
    weight_pct: int | None = None
    deployed_at_s: float = 0.0
    rollout: revisions.Rollout = field(default_factory=revisions.Rollout)
    revisions: list[tuple[str, str, float]] = field(default_factory=list)
    """Name, URI and birth of each revision."""
    served: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    is_deleted: bool = False

    def __post_init__(self) -> None:
        for known in (CHAMPION, CHALLENGER, NEWCOMER):
            self.registry.register(TASK, known.uri, tags={}, metrics={})

    def ports(self) -> RolloutPorts:
        return RolloutPorts(services=self, stats=self, ledger=self.ledger, registry=self.registry, clock=self)

    # the clock
    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed)

    def elapsed_s(self) -> float:
        return self.elapsed

    def sleep(self, duration_s: float) -> None:
        for revision, percent in self.traffic_pct().items():
            self.served[revision] += self.requests_per_s * duration_s * percent / 100
        self.elapsed += duration_s
        self._reconcile()

    # the InferenceServices
    def fetch(self, name: str) -> ServiceState | None:
        assert name == TASK
        if not self.uri:
            return None
        self._reconcile()
        rollout = self.rollout
        is_alive = bool(rollout.latest_created) and rollout.latest_created == rollout.latest_ready
        return ServiceState(
            name=name,
            is_ready=is_alive,
            storage_uri=self.uri,
            canary_traffic_pct=self.weight_pct,
            stable_revision=rollout.latest_rolled_out,
            latest_ready_revision=rollout.latest_ready,
            latest_created_revision=rollout.latest_created,
            traffic_pct=self.traffic_pct(),
            message="" if is_alive else "the newest revision is loading",
            is_latest_ready=is_alive,
        )

    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        assert name == TASK
        if storage_uri != self.uri:
            self.deployed_at_s = self.elapsed
        self.uri, self.weight_pct = storage_uri, canary_traffic_pct
        self._reconcile()

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        self.deploy(name, self.uri, canary_traffic_pct=canary_traffic_pct)

    def delete(self, name: str) -> None:
        assert name == TASK
        self.uri, self.rollout, self.is_deleted = "", revisions.Rollout(), True

    # the traffic numbers
    def fetch_counts(self, revision: str) -> RevisionCounts:
        if self.elapsed >= self.stats_down_after_s:
            raise Unavailable("the gateway does not answer")
        num, behaviour = int(self.served[revision]), self._behaviour(revision)
        num_slow = int(num * behaviour.slow_ratio)
        buckets = {bound: num if bound >= SLOW_MS else num - num_slow for bound in BUCKETS_MS}
        return RevisionCounts(num_requests=num, num_errors=int(num * behaviour.error_ratio), num_by_latency_ms=buckets)

    # what a test asks
    def served_uri(self) -> str:
        """The model that has all the traffic; "" while two share it."""
        return next((self._uri_of(name) for name, percent in self.traffic_pct().items() if percent == 100), "")

    def traffic_pct(self) -> Mapping[str, int]:
        targets = revisions.plan_traffic(self.rollout, canary_traffic_pct=self.weight_pct)
        return dict(revisions.percent_by_revision(targets))

    def num_served(self, uri: str) -> float:
        return sum(num for name, num in self.served.items() if self._uri_of(name) == uri)

    def _reconcile(self) -> None:
        newest_uri = self.revisions[-1][1] if self.revisions else ""
        if self.uri and self.uri != newest_uri and self.elapsed >= self.deployed_at_s + self.status_lag_s:
            name = revisions.revision_name(TASK, len(self.revisions) + 1)
            self.revisions.append((name, self.uri, self.elapsed))
            self.rollout = self.rollout.model_copy(update={"latest_created": name})
        if self.revisions and self.rollout.latest_created:
            name, _, born_s = self.revisions[-1]
            if self.elapsed >= born_s + self._behaviour(name).ready_after_s:
                self.rollout = self.rollout.model_copy(update={"latest_ready": name})
        self.rollout, _ = revisions.settle(self.rollout, canary_traffic_pct=self.weight_pct)

    def _uri_of(self, revision: str) -> str:
        return next((uri for name, uri, _ in self.revisions if name == revision), "")

    def _behaviour(self, revision: str) -> Behaviour:
        return self.behaviours.get(self._uri_of(revision), Behaviour())
