"""Copies of live requests: the canary gets them, users never notice, whatever becomes of the canary."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from embedded.control_plane.kserve.revisions import revision_name
from ratchet.adapters.kserve import KServeInferenceServices
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.settings import Settings
from tests.embedded.serving_world import COLLECTION, ServingWorld, serving_world, steady_traffic, wait_for

pytestmark = pytest.mark.stack
MIRROR = "ratchet/mirror-percent"


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


def open_dark(world: ServingWorld, name: str, **behaviour: float) -> tuple[str, str]:
    """A stable revision, and a canary that gets a copy of every request; gives their names."""
    world.services.deploy(name, world.put_model(f"{name}-old"), canary_traffic_pct=None)
    world.wait_traffic(name, {"00001": 100})
    world.services.deploy(name, world.put_model(f"{name}-new", **behaviour), canary_traffic_pct=0)
    world.services.set_mirror(name, 100)
    wait_for(lambda: mirror_pct_of(world, name) == 100, "the mirror")
    return revision_name(name, 1), revision_name(name, 2)


def mirror_pct_of(world: ServingWorld, name: str) -> int:
    state = world.services.fetch(name)
    assert state is not None
    return state.mirror_pct


def ids_seen_by(world: ServingWorld, revision: str) -> list[str]:
    log = Path(world.config.data_dir) / "model_server_logs" / f"{revision}.log"
    return [line.split()[1] for line in log.read_text().splitlines() if line.startswith("request ")]


def test_a_copy_keeps_the_request_id_and_is_counted_with_its_latency(world: ServingWorld):
    old, new = open_dark(world, "copied", delay_s=0.05)
    given = [f"id-{number}" for number in range(20)]
    for each in given:
        response = world.user.post("/v1/models/copied:predict", json={}, headers={"x-request-id": each})
        assert response.json()["answer"] == "copied-old" and response.headers["x-ratchet-revision"] == old
    wait_for(lambda: world.stats.fetch_counts(new).num_requests == 20, "the copies to be counted")
    assert sorted(ids_seen_by(world, new)) == sorted(ids_seen_by(world, old)) == sorted(given)
    wait_for(lambda: max(world.stats.fetch_counts(new).num_by_latency_ms.values(), default=0) == 20, "their latencies")
    counts = world.stats.fetch_counts(new)
    assert counts.num_errors == 0 and counts.num_by_latency_ms[40] == 0 and counts.num_by_latency_ms[1000] == 20
    assert world.stats.fetch_counts(old).num_requests == 20


def test_live_requests_are_counted_beside_the_copies_once_each(world: ServingWorld):
    """Envoy clears the latencies of live requests when the split's members change, and those of copies never."""
    world.services.set_traffic("copied", 50)
    world.wait_traffic("copied", {"00001": 50, "00002": 50})
    assert mirror_pct_of(world, "copied") == 0
    new = revision_name("copied", 2)
    world.answers("copied", 40)
    total = len(ids_seen_by(world, new))  # a copy may be among them: a worker of Envoy hears of a new split a bit later
    assert total > 20
    wait_for(lambda: max(world.stats.fetch_counts(new).num_by_latency_ms.values()) == total, f"{total} latencies")
    world.services.set_traffic("copied", 0)
    world.wait_traffic("copied", {"00001": 100})
    wait_for(lambda: mirror_pct_of(world, "copied") == 100, "the mirror")
    time.sleep(1.2)  # longer than Envoy's flush
    counts = world.stats.fetch_counts(new)
    assert (counts.num_requests, max(counts.num_by_latency_ms.values())) == (total, total), counts


def test_no_user_notices_a_mirrored_revision_that_dies_or_hangs(world: ServingWorld):
    old, new = open_dark(world, "dying")
    with steady_traffic(world, "dying") as seen:
        for stop in (signal.SIGKILL, signal.SIGSTOP):
            wait_for(lambda: world.stats.fetch_counts(new).num_requests, "copies")
            (pid,) = wait_for(lambda: world.pids_of(new), "the canary to run again")
            os.kill(pid, stop)
            time.sleep(1.5)
        os.kill(pid, signal.SIGCONT)
    assert set(seen) == {"200"} and seen["200"] > 200, seen
    assert set(ids_seen_by(world, new)) <= set(ids_seen_by(world, old))


def test_a_slow_mirrored_revision_slows_nobody(world: ServingWorld):
    open_dark(world, "slow", delay_s=3)
    begun = time.monotonic()
    assert world.answers("slow", 20) == {"slow-old": 20}
    assert time.monotonic() - begun < 3, "20 answers waited for one copy"


def test_errors_of_a_mirrored_revision_are_counted_to_it_and_not_retried(world: ServingWorld):
    old, new = open_dark(world, "failing", status=503)
    assert world.answers("failing", 20) == {"failing-old": 20}
    wait_for(lambda: world.stats.fetch_counts(new).num_requests >= 3, "the errors")
    counts = world.stats.fetch_counts(new)
    assert counts.num_errors == counts.num_requests <= 20, "no copy is sent twice; Envoy sets a failing process aside"
    assert len(ids_seen_by(world, old)) == 20, "no copy comes back to the stable revision"


@pytest.mark.parametrize("value", ["101", "-1", "ten", "", "1.5"])
def test_a_malformed_share_is_refused_by_name(world: ServingWorld, value: str):
    world.services.deploy("wished", world.put_model("wished"), canary_traffic_pct=None)
    patch = {"metadata": {"annotations": {MIRROR: value}}}
    headers = {"content-type": "application/merge-patch+json"}
    response = world.api.patch(f"{COLLECTION}/wished", json=patch, headers=headers)
    assert response.status_code == 422 and MIRROR in response.json()["message"]


def test_the_mirror_is_back_after_the_control_plane_was_killed(world: ServingWorld):
    _, new = open_dark(world, "kept")
    world.kill_control_plane()
    world.start_control_plane()
    wait_for(lambda: world.answers("kept", 1) == {"kept-old": 1}, "the stable revision")
    wait_for(lambda: mirror_pct_of(world, "kept") == 100, "the mirror")
    before = len(ids_seen_by(world, new))
    wait_for(  # as soon as Envoy has found the canary healthy again
        lambda: world.answers("kept", 1) == {"kept-old": 1} and len(ids_seen_by(world, new)) > before, "copies"
    )


def test_a_server_that_cannot_mirror_is_left_alone():
    """KServe on Knative makes a new revision when an annotation changes: no PATCH may be sent."""
    methods: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        methods.append(request.method)
        metadata = {"name": "digits", "generation": 1}
        return httpx.Response(200, json={"metadata": metadata, "spec": {"predictor": {}}, "status": {}})

    transport = httpx.MockTransport(answer)
    api = KubernetesApi("http://cluster", token=lambda: "t", namespace="default", transport=transport)
    services = KServeInferenceServices(api)
    services.set_mirror("digits", 100)
    state = services.fetch("digits")
    assert methods == ["GET", "GET"] and state is not None and state.mirror_pct == 0
