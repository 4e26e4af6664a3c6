"""The server is killed at the worst moment and started again: nothing lost, nothing twice, nothing left behind."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.control_plane.engine.family import list_marked
from tests.embedded import kfp_constructs as constructs
from tests.embedded.kfp_server import KfpServer, run_pipeline, wait_until


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    monkeypatch.setenv("HOME", str(tmp_path))
    server = KfpServer(tmp_path / "server")
    server.start()
    yield server
    server.stop()


def processes_of(server: KfpServer) -> list[int]:
    engine_id = (server.folder / "data" / "engine_id").read_text()
    return list_marked(f"{engine_id}:")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_run_goes_on_where_it_was_and_no_task_that_succeeded_runs_twice(
    server: KfpServer, tmp_path: Path, number: signal.Signals
) -> None:
    mark = tmp_path / "started"
    arguments = {"folder": str(tmp_path), "seconds": 2, "mark": str(mark)}
    run_id = run_pipeline(server.client(), constructs.counted_calls, tmp_path, arguments)
    wait_until(mark.exists, within_s=20, what="the middle task runs")
    server.stop(number)
    wait_until(lambda: not processes_of(server), within_s=5, what="no task process is left behind")
    server.start()
    assert server.wait_for(run_id)["state"] == "SUCCEEDED"
    assert len(list(tmp_path.glob("first-*"))) == 1
    assert len(list(tmp_path.glob("last-*"))) == 1


def test_terminate_survives_a_crash(server: KfpServer, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    run_id = run_pipeline(server.client(), constructs.long_with_exit, tmp_path, {"mark": str(mark)})
    wait_until(mark.exists, within_s=20, what="the task runs")
    server.post(f"runs/{run_id}:terminate")
    server.stop(signal.SIGKILL)
    server.start()
    run = server.wait_for(run_id)
    assert (run["state"], run["error"]["message"]) == ("FAILED", "terminated")
    assert server.tasks_of(run_id)["report"]["state"] == "SUCCEEDED"


def test_recurring_run_survives_a_restart_and_never_runs_a_slot_twice(server: KfpServer, tmp_path: Path) -> None:
    from kfp import compiler

    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(constructs.sequence, str(path))
    client = server.client()
    experiment = client.create_experiment("nightly")
    recurring = client.create_recurring_run(
        experiment.experiment_id, "every-second", cron_expression="* * * * * *", pipeline_package_path=str(path)
    )
    wait_until(lambda: server.get("runs").get("runs"), within_s=10, what="a first slot ran")
    server.stop(signal.SIGKILL)
    before = client_runs_after_restart(server)
    wait_until(lambda: len(server.get("runs")["runs"]) > before, within_s=10, what="another slot ran")
    client.disable_recurring_run(recurring.recurring_run_id)
    slots = [run["scheduled_at"] for run in server.get("runs?page_size=100")["runs"]]
    assert len(slots) == len(set(slots))
    assert server.get(f"recurringruns/{recurring.recurring_run_id}")["status"] == "DISABLED"


def client_runs_after_restart(server: KfpServer) -> int:
    server.start()
    return len(server.get("runs")["runs"])
