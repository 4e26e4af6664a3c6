"""InferenceServices with real processes, a real Envoy and a real object store; the model server is a tiny one."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from embedded.control_plane.kserve.revisions import revision_name
from ratchet.settings import Settings
from tests.embedded.serving_world import (
    COLLECTION,
    ServingWorld,
    isvc_body,
    serving_world,
    steady_traffic,
    wait_for,
)

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


def test_a_canary_gets_its_share_then_everything_and_the_old_revision_stops(world):
    old, new = revision_name("walk", 1), revision_name("walk", 2)
    world.services.deploy("walk", world.put_model("walk-1"), canary_traffic_pct=None)
    world.wait_traffic("walk", {"00001": 100})
    assert world.answers("walk", 50) == {"walk-1": 50}

    with steady_traffic(world, "walk", num_threads=1) as seen:
        world.services.deploy("walk", world.put_model("walk-2"), canary_traffic_pct=10)
        world.wait_traffic("walk", {"00001": 90, "00002": 10})
        shares = world.answers("walk", 1000)
        assert 60 <= shares["walk-2"] <= 145, f"10 % of 1000 is 100, within 4.5 standard deviations of 9.5; {shares}"
        world.services.set_traffic("walk", None)
        world.wait_traffic("walk", {"00002": 100})
        assert world.answers("walk", 50) == {"walk-2": 50}
        wait_for(lambda: not world.pids_of(old), "the old revision to be stopped")
    assert set(seen) == {"200"}, seen
    assert len(world.pids_of(new)) == 1

    world.services.set_traffic("walk", 0)
    world.wait_traffic("walk", {"00001": 100})
    assert world.answers("walk", 50) == {"walk-1": 50}, "0 % after the rollout gives the previous revision back"


def test_killing_a_revision_under_load_fails_no_request(world):
    world.services.deploy("kill", world.put_model("kill-1"), canary_traffic_pct=None)
    world.wait_traffic("kill", {"00001": 100})
    world.services.deploy("kill", world.put_model("kill-2"), canary_traffic_pct=50)
    world.wait_traffic("kill", {"00001": 50, "00002": 50})
    canary = revision_name("kill", 2)
    with steady_traffic(world, "kill") as seen:
        (pid,) = world.pids_of(canary)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: world.condition("kill")["status"] == "False", "the condition to say so")
        wait_for(lambda: world.condition("kill")["status"] == "True", "the revision to be started again")
        wait_for(lambda: seen["200"] > 100, "traffic, however slow the machine is")
    assert set(seen) == {"200"}, seen
    assert world.pids_of(canary) != [pid]


def test_a_lone_revision_that_stands_still_for_a_while_fails_no_request(world):
    """As on a machine with more to do than it can: Envoy finds it ill after two checks of 1 s, and has nobody else."""
    world.services.deploy("lone", world.put_model("lone-1"), canary_traffic_pct=None)
    world.wait_traffic("lone", {"00001": 100})
    (pid,) = world.pids_of(revision_name("lone", 1))
    with steady_traffic(world, "lone") as seen:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3.5)
        os.kill(pid, signal.SIGCONT)
        answered = seen["200"]
        wait_for(lambda: seen.total() > answered + 100, "traffic, however slow the machine is")
    assert set(seen) == {"200"}, seen


def test_revisions_serve_again_after_the_control_plane_was_killed(world):
    world.services.deploy("again", world.put_model("again-1"), canary_traffic_pct=None)
    world.wait_traffic("again", {"00001": 100})
    world.services.deploy("again", world.put_model("again-2"), canary_traffic_pct=30)
    world.wait_traffic("again", {"00001": 70, "00002": 30})
    before = world.isvc("again")

    world.kill_control_plane()
    revisions = [revision_name("again", number) for number in (1, 2)]
    wait_for(lambda: not any(map(world.pids_of, revisions)), "the kernel to end the servers of a dead control plane")
    world.start_control_plane()

    assert world.isvc("again")["metadata"]["uid"] == before["metadata"]["uid"]
    wait_for(lambda: world.condition("again")["status"] == "True", "both revisions to be ready again")
    wait_for(lambda: set(world.answers("again", 60)) == {"again-1", "again-2"}, "Envoy to find them healthy again")
    assert world.isvc("again")["status"]["components"] == before["status"]["components"]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        pytest.param({"exit": 3}, "the weights are for another network", id="the-server-stops-at-once"),
        pytest.param(None, "the folder is empty or missing", id="nothing-at-the-uri"),
    ],
)
def test_a_revision_that_cannot_start_says_why_and_gets_no_traffic(world, request, behaviour, expected):
    name = f"bad-{len(request.node.callspec.id)}"
    world.services.deploy(name, world.put_model(f"{name}-1"), canary_traffic_pct=None)
    world.wait_traffic(name, {"00001": 100})
    uri = world.put_model(f"{name}-2", **behaviour) if behaviour else "s3://models/no-such-model"
    world.services.deploy(name, uri, canary_traffic_pct=None)
    wait_for(lambda: world.condition(name)["status"] == "False", "the failure to be told")
    state = world.services.fetch(name)
    assert expected in state.message
    assert state.is_latest_ready is False
    assert state.latest_ready_revision == state.stable_revision == revision_name(name, 1)
    assert world.answers(name, 20) == {f"{name}-1": 20}
    assert world.isvc(name)["status"]["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"

    world.services.deploy(name, world.put_model(f"{name}-3"), canary_traffic_pct=None)
    world.wait_traffic(name, {"00003": 100})


def test_a_custom_container_gets_its_model_its_port_and_its_secret(world):
    uri = world.put_model("custom-1")
    container = {
        "name": "kserve-container",
        "image": "example/tiny:1",
        "command": ["sh", "-c"],
        "args": ['exec python3 "$TINY" --model_name custom --model_dir "$DIR" --http_port "$PORT" --greeting "$HELLO"'],
        "env": [
            {"name": "STORAGE_URI", "value": uri},
            {"name": "TINY", "value": "tests/embedded/tiny_model.py"},
            {"name": "DIR", "value": "/mnt/models"},
            {"name": "HELLO", "valueFrom": {"secretKeyRef": {"name": "ratchet", "key": "RATCHET_S3_REGION"}}},
        ],
        "ports": [{"containerPort": 8080}],
    }
    body = isvc_body("custom", uri)
    body["spec"]["predictor"] = {"containers": [container]}
    assert world.api.post(COLLECTION, json=body).status_code == 201
    world.wait_traffic("custom", {"00001": 100})
    assert world.user.post("/v1/models/custom:predict", json={}).json() == {
        "answer": "custom-1",
        "greeting": "us-east-1",
    }
    assert world.services.fetch("custom").storage_uri == uri


def test_a_deleted_service_loses_its_routes_and_processes_and_its_name_is_free_again(world):
    world.services.deploy("gone", world.put_model("gone-1"), canary_traffic_pct=None)
    world.wait_traffic("gone", {"00001": 100})
    world.services.delete("gone")
    assert world.services.fetch("gone") is None
    wait_for(lambda: world.user.get("/v2/models/gone/ready").status_code == 404, "the route to go")
    world.services.deploy("gone", world.put_model("gone-2"), canary_traffic_pct=None)
    wait_for(lambda: world.answers("gone", 1) == {"gone-2": 1}, "the new service of the same name")
    world.services.delete("gone")
    wait_for(lambda: not world.pids_of(revision_name("gone", 1)), "its processes to end")
