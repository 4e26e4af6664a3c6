"""A cluster in miniature on a clock that does not wait: KServe's traffic rule, revisions that take time, live traffic.

It can be pickled as a whole, so that a test can kill the process that acts on it and go on with what was left.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.canary_deploy.step import canary_deploy_step
from embedded.control_plane.kserve import revisions
from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.core.errors import Unavailable
from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import RevisionCounts, ServiceState
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.verdict import Reason
from ratchet.stores.rollout_orders import RolloutOrders
from ratchet.stores.rollout_record import Recorded, RolloutRecords
from tests.crash_points import Tell, Watched, at
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.payload_log import FakePayloadLog
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


class Objects(FakeObjectStore):
    """With a switch: what is stored is out of reach while `is_down`."""

    is_down = False

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def _check_bucket(self, uri: str) -> None:
        if self.is_down:
            raise Unavailable("the object store does not answer")
        super()._check_bucket(uri)


def _zeros() -> defaultdict[str, float]:
    return defaultdict(float)


def _nothing() -> tuple[float, float, float]:
    return 0.0, 0.0, 0.0


def _nothings() -> defaultdict[str, tuple[float, float, float]]:
    return defaultdict(_nothing)


@dataclass
class World:
    """The clock, the InferenceService and the gateway's counters; time passes only while somebody sleeps."""

    requests_per_s: float = 80.0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    status_lag_s: float = 0.3
    stats_down_after_s: float = float("inf")
    ledger: FakeLedger = field(default_factory=FakeLedger)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    objects: Objects = field(default_factory=Objects)
    payloads: FakePayloadLog = field(default_factory=FakePayloadLog)
    can_mirror: bool = True
    is_champion_loadable: bool = True
    file_troubles: dict[str, str] = field(default_factory=dict)
    """By URI, what is wrong with a model's files."""
    stable_trouble: str = ""
    """Why the stable revision's server does not answer."""
    late_answerer: str = ""
    """A revision that still answers once at the gateway after its traffic is 0 by the status."""
    elapsed: float = 0.0
    uri: str = ""
    weight_pct: int | None = None
    mirror_pct: int = 0
    deployed_at_s: float = 0.0
    rollout: revisions.Rollout = field(default_factory=revisions.Rollout)
    revisions: list[tuple[str, str, float]] = field(default_factory=list)
    """Name, URI and birth of each revision."""
    served: defaultdict[str, float] = field(default_factory=_zeros)
    """Live requests of each revision."""
    counted: defaultdict[str, tuple[float, float, float]] = field(default_factory=_nothings)
    """Requests, mirrored ones too, errors and slow requests of each revision, as the gateway counts them."""
    is_deleted: bool = False

    def __post_init__(self) -> None:
        for known in (CHAMPION, CHALLENGER, NEWCOMER):
            self.registry.register(TASK, known.uri, tags={}, metrics={})

    def ports(self, tell: Tell | None = None) -> RolloutPorts:
        """tell: learns of each call that changes something."""
        told: dict[str, Any] = {"services": self, "ledger": self.ledger, "objects": self.objects, "gateway": self}
        if tell is not None:
            told = {name: Watched(name, port, tell) for name, port in told.items()}
        objects = told["objects"]
        return RolloutPorts(
            **told,
            records=RolloutRecords(objects, "ratchet"),
            orders=RolloutOrders(objects, "ratchet"),
            stats=self,
            registry=self.registry,
            clock=self,
            payloads=self.payloads,
            proof=self,
            files=self,
        )

    # the clock
    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed)

    def elapsed_s(self) -> float:
        return self.elapsed

    def sleep(self, duration_s: float) -> None:
        for revision, percent in self.traffic_pct().items():
            num = self.requests_per_s * duration_s * percent / 100
            self.served[revision] += num
            self._count(revision, num)
        if copied := self.mirror_in_force():
            self._count(self.rollout.latest_created, self.requests_per_s * duration_s * copied / 100)
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
            stable_message=self.stable_trouble,
            is_failed=bool(self.stable_trouble),
            mirror_pct=self.mirror_in_force(),
        )

    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        assert name == TASK
        if storage_uri != self.uri:
            self.deployed_at_s = self.elapsed
        self.uri, self.weight_pct = storage_uri, canary_traffic_pct
        self._reconcile()

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        self.deploy(name, self.uri, canary_traffic_pct=canary_traffic_pct)

    def set_mirror(self, name: str, mirror_pct: int) -> None:
        assert name == TASK
        self.mirror_pct = mirror_pct

    def delete(self, name: str) -> None:
        assert name == TASK
        self.uri, self.rollout, self.is_deleted = "", revisions.Rollout(), True
        self.revisions.append(("", "", self.elapsed))  # what comes next is a new revision, whatever its model

    # the traffic numbers
    def fetch_counts(self, revision: str) -> RevisionCounts:
        if self.elapsed >= self.stats_down_after_s:
            raise Unavailable("the gateway does not answer")
        num, num_errors, num_slow = (int(number) for number in self.counted[revision])
        buckets = {bound: num if bound >= SLOW_MS else num - num_slow for bound in BUCKETS_MS}
        return RevisionCounts(num_requests=num, num_errors=num_errors, num_by_latency_ms=buckets)

    # the gateway, and the proof that the champion could be loaded
    def fetch_answerers(self, name: str, *, num_requests: int) -> frozenset[str]:
        assert name == TASK
        if self.late_answerer and self.weight_pct == 0:
            self.late_answerer, late = "", self.late_answerer
            return frozenset({late})
        return frozenset(revision for revision, percent in self.traffic_pct().items() if percent)

    def prove(self, model: ModelRef) -> Reason:
        return Reason(check="fallback", value="", limit="", passed=self.is_champion_loadable, text=f"loads {model.uri}")

    def remember(self, model: ModelRef) -> None:
        assert self.uri == model.uri

    def find_trouble(self, model: ModelRef) -> str:
        return self.file_troubles.get(model.uri, "")

    # what a test asks
    def mirror_in_force(self) -> int:
        rollout = self.rollout
        is_dark = rollout.latest_created == rollout.latest_ready != rollout.latest_rolled_out != ""
        has_traffic = self.traffic_pct().get(rollout.latest_created, 0) > 0
        return self.mirror_pct if self.can_mirror and is_dark and not has_traffic else 0

    def served_uri(self) -> str:
        """The model that has all the traffic; "" while two share it."""
        return next((self._uri_of(name) for name, percent in self.traffic_pct().items() if percent == 100), "")

    def traffic_pct(self) -> Mapping[str, int]:
        targets = revisions.plan_traffic(self.rollout, canary_traffic_pct=self.weight_pct)
        return dict(revisions.percent_by_revision(targets))

    def num_served(self, uri: str) -> float:
        return sum(num for name, num in self.served.items() if self._uri_of(name) == uri)

    def _count(self, revision: str, num: float) -> None:
        behaviour = self._behaviour(revision)
        before = self.counted[revision]
        new = (num, num * behaviour.error_ratio, num * behaviour.slow_ratio)
        self.counted[revision] = (before[0] + new[0], before[1] + new[1], before[2] + new[2])

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
        self.rollout, _ = revisions.converge(self.rollout, canary_traffic_pct=self.weight_pct)

    def _uri_of(self, revision: str) -> str:
        return next((uri for name, uri, _ in self.revisions if name == revision), "")

    def _behaviour(self, revision: str) -> Behaviour:
        return self.behaviours.get(self._uri_of(revision), Behaviour())


POLICY = RolloutPolicy(dark_requests=200, dark_s_max=20, hold_s_max=60)
HEALTHY = Behaviour()
ERRS, SLOW = Behaviour(error_ratio=0.2), Behaviour(slow_ratio=0.3)


def deploy(world: World, tmp_path: Path, **changes: Any) -> str:
    arguments: dict[str, Any] = {"task": TASK, "model": CHALLENGER, "run_id": "run-2", "policy": POLICY, **changes}
    arguments |= {"verdict_path": tmp_path / "verdict.json", "report_path": tmp_path / "report.html"}
    return canary_deploy_step(arguments.pop("ports", world.ports()), **arguments)


def world_with_champion(tmp_path: Path, *, challenger: Behaviour = HEALTHY, **changes: Any) -> World:
    world = World(behaviours={CHALLENGER.uri: challenger}, **changes)
    assert deploy(world, tmp_path, model=CHAMPION, run_id="run-1") == "promoted"
    world.sleep(10)
    return world


def kinds(world: World) -> list[tuple[str, str]]:
    return [(entry.kind, entry.model.digest) for entry in world.ledger.list_entries(TASK)]


def recorded_of(world: World, run_id: str = "run-2") -> Recorded:
    return RolloutRecords(world.objects, "ratchet").fetch(TASK, run_id)


AT_10_PCT = "services.set_traffic(10):after"


def over(ports: RolloutPorts, objects: Any) -> RolloutPorts:
    """The same ports over another object store."""
    records, orders = RolloutRecords(objects, "ratchet"), RolloutOrders(objects, "ratchet")
    return replace(ports, objects=objects, records=records, orders=orders)


class Killed(Exception):
    """What a kill is to a test in the same process."""


def deploy_killed_at(world: World, tmp_path: Path, point: str, **changes: Any) -> None:
    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        deploy(world, tmp_path, ports=world.ports(at(point, kill)), **changes)
