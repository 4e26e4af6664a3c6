"""One run, always: processes are killed and paused, clocks are wrong, and every call to S3 and to KFP fails once."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from pipelines.publish import publish
from ratchet.actions.runs.retraining import RetrainPorts
from ratchet.adapters import kfp_client, s3
from ratchet.adapters.http import ONCE
from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.core.errors import RatchetError
from ratchet.settings import Settings
from sensors.label_sensor.tick import TickReport, tick
from tests.crash_points import CLAIM_POINTS as POINTS
from tests.crash_points import file_name_of
from tests.embedded.kfp_server import KfpServer
from tests.embedded.sensor_world import (
    Driver,
    HastyClock,
    check_one_run,
    compile_sleeping,
    end_all,
    ports_of,
    push,
    restarted,
    wait_until,
)
from tests.embedded.tick_driver import POLICY
from tests.fault_proxy import Fault, FaultProxy

LEADER_LEASE_S = 60.0
"""A leader that was paused believes that its lease is young: what it reads must stop it, not its clock."""
pytestmark = [pytest.mark.stack, pytest.mark.whole]


@pytest.fixture(scope="module")
def settings(s3_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("once")
    repo = folder / "datasets.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repo], check=True)
    server = KfpServer(folder)
    server.start()
    update = {"kfp_endpoint": server.url, "dataset_repo": str(repo), "state_dir": folder / "state"}
    made = s3_settings.model_copy(update=update)
    publish(KfpPipelineCatalog.of(made), compile_sleeping(folder / "retrain.yaml"))
    yield made
    server.stop(signal.SIGKILL)  # its runs are of no use any more: it need not end them one by one


def follow_up_all(ports: RetrainPorts, task: str, *, lease_s: float = 30.0) -> list[str]:
    """Healthy ticks over more than a lease; their reasons."""
    reasons = []
    for _ in range(3):
        reasons.append(tick(ports, POLICY, task=task).reason)
        assert isinstance(ports.clock, HastyClock)
        ports.clock.jumped_s += lease_s
    return reasons


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_sensor_that_is_killed_at_any_point_leaves_exactly_one_run(settings):
    ports = ports_of(settings)
    points = {f"killed-{file_name_of(point)}": point for point in POINTS}
    for task in points:
        push(ports, task)
    driver = Driver(settings, points, signal_name="SIGKILL", lease_s=30.0)
    assert driver.wait() == dict.fromkeys(points, -signal.SIGKILL)
    for task in points:
        reasons = follow_up_all(restarted(ports), task)
        check_one_run(ports, task)
        assert "in flight" in reasons[-1], reasons


@pytest.mark.parametrize("skew_s", [-600.0, 600.0], ids=["leader-slow", "leader-fast"])
def test_a_leader_that_is_paused_at_any_point_has_no_run_beside_the_other_s(settings, skew_s):
    """Its clock is ten minutes off. The other takes over after the lease, then it goes on as if nothing had been."""
    ports = ports_of(settings)
    points = {f"paused-{'slow' if skew_s < 0 else 'fast'}-{file_name_of(point)}": point for point in POINTS}
    for task in points:
        push(ports, task)
    driver = Driver(settings, points, signal_name="SIGSTOP", lease_s=LEADER_LEASE_S, skew_s=skew_s)
    for task, pid in driver.pids.items():
        wait_until(partial(is_stopped, pid), f"{task} is stopped")
        follow_up_all(ports, task)
        os.kill(pid, signal.SIGCONT)
    assert driver.wait() == dict.fromkeys(points, 0)
    for task in points:
        tick(ports, POLICY, task=task)
        check_one_run(ports, task)
    assert len(driver.reports) == len(points), "each of them ended its tick in peace"


def test_a_submission_that_arrives_after_another_s_is_ended(settings):
    """The leader is past all checks, his POST is on its way, and takes longer than a lease."""
    task = "late-post"
    other = ports_of(settings)
    push(other, task)
    with FaultProxy(settings.kfp_endpoint, late_s=3.0).running() as proxy, ThreadPoolExecutor(1) as pool:
        leader = ports_of(settings.model_copy(update={"kfp_endpoint": proxy.url}))
        proxy.arm(1, "late", only="POST /apis/v2beta1/runs")
        ticked = pool.submit(tick, leader, POLICY, task=task)
        wait_until(lambda: proxy.num_calls, "the submission is on its way")
        follow_up_all(other, task)
        taken_over = other.pipelines.list_runs(experiment=task)
        assert len(taken_over) == 1
        assert ticked.result(timeout=30).run_id == taken_over[0].run_id, "the leader learns whose run it is"
    assert len(other.pipelines.list_runs(experiment=task)) == 2, "KFP has no key that tells the two apart"
    assert check_one_run(other, task).run_id == taken_over[0].run_id


def test_of_several_sensors_at_once_one_starts_the_run(settings):
    ports = ports_of(settings)
    push(ports, "crowded")
    with ThreadPoolExecutor(4) as pool:
        drivers = list(
            pool.map(
                lambda skew_s: Driver(settings, {"crowded": ""}, signal_name="SIGKILL", lease_s=30.0, skew_s=skew_s),
                (-600.0, 600.0),
            )
        )
    assert [driver.wait() for driver in drivers] == [{"crowded": 0}] * 2
    outcomes = sorted(TickReport.model_validate(driver.reports[0]).outcome for driver in drivers)
    assert outcomes == ["skip", "trigger"]
    check_one_run(ports, "crowded")


@pytest.mark.parametrize(
    ("server", "fault"),
    [("s3", "refused"), ("s3", "answer-lost"), ("kfp", "refused"), ("kfp", "error-after"), ("kfp", "late")],
)
def test_whichever_call_fails_there_is_one_run(settings, monkeypatch, server, fault: Fault):
    """Each call of a tick in turn. Our clients do not try again, so nothing hides the fault (urllib3 repeats GETs)."""
    monkeypatch.setattr(s3, "NUM_ATTEMPTS", 1)
    monkeypatch.setattr(kfp_client, "RETRY", ONCE)
    monkeypatch.setattr(kfp_client, "TIMEOUT_S", (3.0, 0.4))
    name = f"{server}_endpoint"
    healthy = ports_of(settings)
    with FaultProxy(getattr(settings, name), late_s=0.7).running() as proxy:
        ports = ports_of(settings.model_copy(update={name: proxy.url}))
        number, num_failed, is_done = 0, 0, False
        while not is_done:
            number += 1
            task = f"{server}-{fault}-{number}"
            push(healthy, task)
            proxy.arm(number, fault)
            try:
                tick(ports, POLICY, task=task)
            except RatchetError:
                num_failed += 1
            is_done = proxy.num_calls < number
            proxy.arm(0)
            proxy.wait_idle()
            follow_up_all(ports, task)
            check_one_run(healthy, task)
            end_all(healthy, task)
    assert number > 5, "a tick makes several calls"
    assert num_failed, "the tick itself noticed some of them"
