"""Model servers outlive the control plane that started them, and hang or die alone. Real processes, tiny models."""

import os
import signal
from collections.abc import Iterator

import pytest

from embedded.control_plane.host.processes import process_stat, stop_group
from embedded.control_plane.kserve.register import ServerRegister
from ratchet.settings import Settings
from tests.embedded.serving_world import COLLECTION, ServingWorld, isvc_body, serving_world, steady_traffic, wait_for

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings, is_lasting=True) as world:
        yield world
        world.kill_control_plane()  # first: it would replace what ends
        for server in register_of(world).list_living():
            stop_group(server.pid, grace_s=0)


def register_of(world: ServingWorld) -> ServerRegister:
    return ServerRegister(world.config.data_dir / "model_servers")


def pids_of(world: ServingWorld, name: str) -> list[int]:
    living = register_of(world).list_living()
    return sorted(server.pid for server in living if server.record.revision.startswith(f"{name}-"))


def deploy(world: ServingWorld, name: str, **predictor: int) -> None:
    world.api.post(COLLECTION, json=isvc_body(name, world.put_model(name), **predictor)).raise_for_status()
    world.wait_traffic(name, {"00001": 100})


def test_no_request_fails_while_the_control_plane_is_killed_and_its_successor_adopts_the_server(world: ServingWorld):
    deploy(world, "kept")
    (pid,) = pids_of(world, "kept")
    with steady_traffic(world, "kept") as seen:
        for _ in range(2):
            world.kill_control_plane()
            world.start_control_plane()
            wait_for(lambda: world.condition("kept")["status"] == "True", "the successor to know it")
    assert set(seen) == {"200"} and pids_of(world, "kept") == [pid]
    os.kill(pid, signal.SIGKILL)  # not a child of the control plane that replaces it
    wait_for(lambda: pids_of(world, "kept") not in ([pid], []), "another server")
    wait_for(lambda: world.answers("kept", 1) == {"kept": 1}, "an answer")


def test_a_server_whose_service_went_while_no_control_plane_ran_is_ended(world: ServingWorld):
    deploy(world, "gone")
    (pid,) = pids_of(world, "gone")
    os.kill(pid, signal.SIGSTOP)  # it is not asked; the process must go all the same
    world.api.delete(f"{COLLECTION}/gone")
    world.kill_control_plane()
    world.start_control_plane()
    wait_for(lambda: process_stat(pid) is None, "its end")


def test_one_of_two_replicas_is_killed_and_nobody_notices(world: ServingWorld):
    deploy(world, "pair", minReplicas=2)
    wait_for(lambda: len(pids_of(world, "pair")) == 2, "two servers")
    wait_for(lambda: set(world.ports_of("pair-predictor-00001")) == {"healthy"}, "Envoy to find both healthy")
    before = pids_of(world, "pair")
    with steady_traffic(world, "pair") as seen:
        os.kill(before[0], signal.SIGKILL)
        wait_for(lambda: len(set(pids_of(world, "pair")) - {before[0]}) == 2, "its replacement")
    assert set(seen) == {"200"}


def test_a_server_that_hangs_is_named_replaced_and_gone(world: ServingWorld):
    deploy(world, "hung")
    (pid,) = pids_of(world, "hung")
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: "does not answer" in world.condition("hung").get("message", ""), "the reason in the status")
    wait_for(lambda: pids_of(world, "hung") not in ([pid], []), "another server")
    wait_for(lambda: world.answers("hung", 1) == {"hung": 1}, "an answer")
    assert process_stat(pid) is None
