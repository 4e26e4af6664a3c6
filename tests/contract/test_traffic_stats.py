"""The fake, Envoy and Prometheus count the same requests. Envoy's numbers are compared with what the users saw."""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from embedded.control_plane.kserve.revisions import revision_name
from ratchet.adapters.envoy import EnvoyTrafficStats
from ratchet.core.errors import SettingsError, Unavailable
from ratchet.core.ports import RevisionCounts, TrafficStats
from ratchet.settings import Settings
from tests.contract.prometheus_world import PrometheusWorld
from tests.embedded.serving_world import ServingWorld, serving_world, wait_for
from tests.fakes.traffic_stats import FakeTrafficStats

OLD, NEW = revision_name("counted", 1), revision_name("counted", 2)
SLOW_MS = 60.0
Ask = Callable[[int], Counter[str]]
"""Send so many requests; gives how many each revision was chosen for. OLD answers; NEW errs, after SLOW_MS."""


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        world.services.deploy("counted", world.put_model("old"), canary_traffic_pct=None)
        world.wait_traffic("counted", {"00001": 100})
        bad = world.put_model("new", status=500, delay_s=SLOW_MS / 1000)
        world.services.deploy("counted", bad, canary_traffic_pct=30)
        world.wait_traffic("counted", {"00001": 70, "00002": 30})
        yield world


SERVERS = [pytest.param(name, marks=pytest.mark.stack) for name in ("envoy", "knative", "knative-otel", "istio")]


@pytest.fixture(params=["fake", *SERVERS])
def case(request: pytest.FixtureRequest) -> tuple[TrafficStats, Ask]:
    if request.param in {"knative", "knative-otel", "istio"}:
        return prometheus_case(request.getfixturevalue("prometheus"), request.param)
    if request.param == "fake":
        fake = FakeTrafficStats()

        def count(num: int) -> Counter[str]:
            fake.add(OLD, num_requests=num - 3, latency_ms=2)
            fake.add(NEW, num_requests=3, num_errors=3, latency_ms=SLOW_MS)
            return Counter({OLD: num - 3, NEW: 3})

        return fake, count
    world: ServingWorld = request.getfixturevalue("world")
    return world.stats, lambda num: ask(world, num)


def prometheus_case(prometheus: PrometheusWorld, flavour: str) -> tuple[TrafficStats, Ask]:
    prometheus.flavour, prometheus.pods = flavour, {}
    old = prometheus.add_pod(f"{OLD}-deployment-{flavour}-x7f2p", OLD)
    new = prometheus.add_pod(f"{NEW}-deployment-{flavour}-kk2lq", NEW)

    def count(num: int) -> Counter[str]:
        old.latencies_ms.setdefault(200, []).extend([2.0] * (num - 3))
        new.latencies_ms.setdefault(500, []).extend([SLOW_MS] * 3)
        return Counter({OLD: num - 3, NEW: 3})

    time.sleep(0.5)  # what another case has counted goes stale
    return prometheus.stats("istio" if flavour == "istio" else "knative"), count


def ask(world: ServingWorld, num_requests: int) -> Counter[str]:
    responses = (world.user.post("/v1/models/counted:predict", json={}) for _ in range(num_requests))
    return Counter(response.headers["x-ratchet-revision"] for response in responses)


def wait_counts(stats: TrafficStats, revision: str, *, num_requests: int) -> RevisionCounts:
    """Envoy's numbers are up to 1 s old, Prometheus' as old as the last scrape."""

    def fetch() -> RevisionCounts | None:
        counts = stats.fetch_counts(revision)
        histogram = counts.num_by_latency_ms
        is_flushed = max(histogram.values(), default=0) == num_requests
        return counts if counts.num_requests == num_requests and is_flushed else None

    counts = wait_for(fetch, lambda: f"{num_requests} requests, not {stats.fetch_counts(revision)}", within_s=5)
    assert counts is not None
    return counts


def test_requests_errors_and_latencies_are_counted_to_the_revision_that_had_them(case: tuple[TrafficStats, Ask]):
    stats, send = case
    chosen = send(60)
    old = wait_counts(stats, OLD, num_requests=chosen[OLD])
    new = wait_counts(stats, NEW, num_requests=chosen[NEW])
    assert (old.num_errors, new.num_errors) == (0, chosen[NEW])
    for counts in (old, new):
        bounds, nums = list(counts.num_by_latency_ms), list(counts.num_by_latency_ms.values())
        assert bounds == sorted(bounds) and bounds[-1] == float("inf") and nums == sorted(nums)
    assert num_within(new, 40) == 0 and num_within(new, 500) == chosen[NEW]
    assert num_within(old, 40) >= 0.9 * chosen[OLD]

    again = send(20)
    wait_counts(stats, OLD, num_requests=chosen[OLD] + again[OLD])


def num_within(counts: RevisionCounts, latency_ms: float) -> int:
    """Requests under the largest bound that is not over this latency."""
    return counts.num_by_latency_ms[max(bound for bound in counts.num_by_latency_ms if bound <= latency_ms)]


def test_a_revision_that_nobody_knows_has_no_counts(case: tuple[TrafficStats, Ask]):
    assert case[0].fetch_counts("nobody-predictor-00001") == RevisionCounts()


@pytest.mark.stack
def test_failures_that_users_never_saw_are_counted_too(world: ServingWorld):
    """A hanging revision's requests are retried on the other one: its errors grow, and so do the other's requests."""
    before_old, before_new = world.stats.fetch_counts(OLD), world.stats.fetch_counts(NEW)
    (pid,) = world.pids_of(OLD)
    os.kill(pid, signal.SIGSTOP)  # connections are accepted, nobody answers
    try:
        chosen = ask(world, 1)
        while not chosen[OLD]:
            chosen += ask(world, 1)
    finally:
        os.kill(pid, signal.SIGCONT)
    num = before_new.num_requests + chosen.total()
    wait_for(lambda: world.stats.fetch_counts(NEW).num_requests >= num, "the retry on the other revision")
    wait_for(lambda: world.stats.fetch_counts(OLD).num_errors > before_old.num_errors, "the timeout")


@pytest.mark.stack
def test_what_a_client_causes_is_counted_apart_and_never_an_error(world: ServingWorld):
    """Refused requests (4xx), and requests given up while the model works on them."""
    world.services.deploy("refusing", world.put_model("refusing", status=422), canary_traffic_pct=None)
    world.services.deploy("patient", world.put_model("patient", delay_s=0.5), canary_traffic_pct=None)
    world.wait_traffic("refusing", {"00001": 100})
    world.wait_traffic("patient", {"00001": 100})
    assert [world.user.post("/v1/models/refusing:predict", json={}).status_code for _ in range(5)] == [422] * 5
    counts = wait_counts(world.stats, revision_name("refusing", 1), num_requests=5)
    assert (counts.num_refused, counts.num_errors) == (5, 0)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", world.gateway_port)) as connection:
            connection.send(b"POST /v1/models/patient:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            time.sleep(0.1)
    world.user.post("/v1/models/patient:predict", json={})
    counts = wait_counts(world.stats, revision_name("patient", 1), num_requests=1)
    assert counts.num_errors == 0


def test_an_envoy_that_is_away_is_unavailable():
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        EnvoyTrafficStats("http://127.0.0.1:9").fetch_counts(OLD)


@pytest.mark.parametrize("endpoint", ["", "/tmp/admin.sock", "ftp://x", "unix://"])
def test_a_malformed_endpoint_is_named(endpoint: str):
    with pytest.raises(SettingsError, match="RATCHET_ENVOY_ADMIN_ENDPOINT"):
        EnvoyTrafficStats(endpoint)
