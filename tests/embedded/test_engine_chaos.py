"""The whole engine on random pipelines, with failures, while its server is killed at random: what must hold anyway."""

import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.control_plane.engine.family import list_marked
from tests.embedded import chaos, kfp_constructs
from tests.embedded.kfp_server import KfpServer, run_pipeline, wait_until

pytestmark = pytest.mark.whole


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


def names_in(folder: Path, deed: str) -> Counter[str]:
    """How often each task did it; a file's name is `<deed>-<task>-<time>-<pid>`."""
    return Counter(path.name.removeprefix(f"{deed}-").rsplit("-", 2)[0] for path in folder.glob(f"{deed}-*"))


def runs_after_success(server: KfpServer, run_id: str) -> list[Path]:
    """Tasks that began once more after a process of theirs had ended with 0; their logs say when they began."""
    found = []
    for path in (server.folder / "data" / "logs" / run_id).rglob("*.exit"):
        ended_at = path.stat().st_mtime_ns
        began_at = [
            int(moment)
            for log in path.parent.glob("*.log")
            for moment in re.findall(r"^began (\d+)$", log.read_text(), re.M)
        ]
        if path.read_text() == "0" and any(moment > ended_at for moment in began_at):
            found.append(path)
    return found


@pytest.mark.parametrize("seed", [1, 4])
def test_random_runs_end_right_however_often_the_server_is_killed(server: KfpServer, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    plans = [chaos.plan_of(seed * 100 + number) for number in range(2)]
    folders = [tmp_path / f"run{number}" for number in range(len(plans))]
    client, run_ids = server.client(), []
    for plan, folder in zip(plans, folders, strict=True):
        folder.mkdir()
        run_ids.append(run_pipeline(client, chaos.pipeline_of(plan), folder, {"folder": str(folder)}))
    for _ in range(2):
        time.sleep(chance.uniform(0.1, 0.9))
        server.stop(signal.SIGKILL)
        wait_until(lambda: not processes_of(server), within_s=5, what="no task outlives its server")
        server.start()
    for plan, folder, run_id in zip(plans, folders, run_ids, strict=True):
        run = server.wait_for(run_id, within_s=60)
        expected = chaos.expected_states(plan)
        assert run["state"] == ("FAILED" if "FAILED" in expected.values() else "SUCCEEDED")
        tasks = server.tasks_of(run_id)
        assert {task["state"] for task in tasks.values()} <= {"SUCCEEDED", "FAILED", "SKIPPED"}, "nothing runs for ever"
        succeeded = names_in(folder, "succeeded")
        for index, one in enumerate(plan):
            names = [f"{index}-a", f"{index}-b"] if one.in_loop else [str(index)]
            assert all((succeeded[name] > 0) == (expected[index] == "SUCCEEDED") for name in names), (run_id, index)
        assert not runs_after_success(server, run_id)
        assert tasks["report"]["state"] == "SUCCEEDED", "the exit task ran"
    assert not processes_of(server)


@pytest.mark.parametrize("fails", [False, True], ids=["succeeded", "failed"])
def test_task_that_ended_while_the_server_was_away_is_not_run_twice(
    server: KfpServer, tmp_path: Path, fails: bool
) -> None:
    """The server is frozen, the task ends, the server is killed: nobody but the exit-code file has seen the end."""
    plan = [chaos.Planned(upstream=(), num_failures=int(fails), num_retries=0, seconds=1.0, in_loop=False)]
    run_id = run_pipeline(server.client(), chaos.pipeline_of(plan), tmp_path, {"folder": str(tmp_path)})
    wait_until(lambda: list(tmp_path.glob("began-*")), within_s=20, what="the task runs")
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: not processes_of(server), within_s=10, what="the task has ended")
    server.stop(signal.SIGKILL)
    server.start()
    assert server.wait_for(run_id)["state"] == ("FAILED" if fails else "SUCCEEDED")
    assert names_in(tmp_path, "began") == {"0": 1}
    task = server.tasks_of(run_id)["exit-handler-1/work"]
    assert task["state"] == ("FAILED" if fails else "SUCCEEDED")
    assert not fails or "fails as told" in task["error"]["message"]


def test_task_stopped_with_its_server_runs_again_though_it_exits_with_zero(server: KfpServer, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    run_id = run_pipeline(server.client(), kfp_constructs.obeys_sigterm, tmp_path, {"mark": str(mark)})
    wait_until(lambda: mark.exists() and mark.read_text(), within_s=20, what="the task runs")
    server.stop(signal.SIGTERM)
    server.start()
    assert server.wait_for(run_id)["state"] == "SUCCEEDED"
    assert mark.read_text() == "began began "
