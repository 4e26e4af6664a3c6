"""Nothing that repeats ends unnoticed: what fails is one failed round; what ends or stands still makes health red."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from embedded.control_plane.engine import log_cap, tasks
from embedded.control_plane.kfp import sweep as sweep_module
from embedded.control_plane.kfp.schedule import Schedule
from embedded.control_plane.kfp.sweep import Sweep
from embedded.control_plane.kserve.gateway import EnvoyGateway
from embedded.control_plane.kserve.reconciler import Reconciler
from tests.embedded.kfp_app import kfp_app, leaf, pipeline, start, wait_for_run

LOOPS = [
    pytest.param(Schedule, "tick", "schedule", id="schedule"),
    pytest.param(Sweep, "sweep", "removal of old files", id="sweep"),
    pytest.param(log_cap, "list_growing", "limit of logs", id="log-cap"),
    pytest.param(Reconciler, "reconcile", "InferenceServices", id="reconciler"),
    pytest.param(EnvoyGateway, "update_clusters", "InferenceServices", id="gateway"),
]


class Attack:
    """Stands in for one deed of a loop, and raises what it is told."""

    def __init__(self, error: BaseException) -> None:
        self.num, self._error = 0, error

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.num += 1
        raise self._error


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def sweeps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(sweep_module, "PAUSE_S", 0.05)


def problem_of(client: TestClient) -> str:
    answer = client.get("/healthz")
    assert (answer.status_code == 503) == ("problem" in answer.json())
    return str(answer.json().get("problem", ""))


@pytest.mark.parametrize(("owner", "deed", "name"), LOOPS)
def test_a_loop_whose_deed_raises_goes_on_and_says_why(
    owner: Any, deed: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attack = Attack(ZeroDivisionError("a defect"))
    monkeypatch.setattr(owner, deed, attack)
    with caplog.at_level(logging.ERROR), kfp_app(tmp_path) as client:
        wait_for(lambda: attack.num >= 2)
        assert problem_of(client) == ""
        assert wait_for_run(client, start(client, pipeline({"t": leaf("true")})))["state"] == "SUCCEEDED"
    assert "a defect" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("owner", "deed", "name"), LOOPS)
def test_a_loop_that_has_ended_is_named_by_health(
    owner: Any, deed: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_task = name == "InferenceServices"
    monkeypatch.setattr(owner, deed, Attack(asyncio.CancelledError() if is_task else SystemExit()))
    with kfp_app(tmp_path) as client:
        wait_for(lambda: problem_of(client) == f"loop {name} has ended")


def test_a_task_whose_thread_is_told_to_exit_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "run_leaf", Attack(SystemExit(3)))
    with kfp_app(tmp_path) as client:
        run = wait_for_run(client, start(client, pipeline({"t": leaf("true")})))
        assert run["state"] == "FAILED" and "SystemExit" in run["error"]["message"]
