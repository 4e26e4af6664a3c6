"""Schedules follow the file on a real server, while those who bring them there are killed at each of their calls."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedded.control_plane.host.processes import tethered
from pipelines.publish import publish
from ratchet.actions.runs.schedules import reconcile_schedules
from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.settings import Settings, child_env
from tests.embedded.kfp_server import REPOSITORY, KfpServer
from tests.embedded.schedule_driver import wanted
from tests.kfp_server import compile_tiny

CALLS = ("list versions", "list", "create", "list again", "delete", "enable")


@pytest.fixture
def catalog(server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KfpPipelineCatalog:
    monkeypatch.setenv("HOME", str(tmp_path))
    catalog = KfpPipelineCatalog.of(Settings(kfp_endpoint=server.url))
    publish(catalog, compile_tiny(tmp_path / "retrain.yaml"))
    return catalog


def start_driver(server: KfpServer, *, seconds: float, call: int, when: str) -> "subprocess.Popen[bytes]":
    words = (server.url, str(seconds), str(call), when)
    return subprocess.Popen(
        tethered([sys.executable, "-m", "tests.embedded.schedule_driver", *words]),
        cwd=REPOSITORY,
        env=child_env({"HOME": str(server.folder)}),
        stdout=subprocess.PIPE,
    )


def test_killed_at_each_call_no_slot_runs_twice(server: KfpServer, catalog: KfpPipelineCatalog) -> None:
    by_hand = catalog.create_schedule("retrain", name="tiny", cron="@yearly", parameters={"task": "digits"})
    reconcile_schedules(catalog, wanted(0.001))
    for number in range(1, len(CALLS) + 1):
        killed = [start_driver(server, seconds=number / 100, call=number, when=when) for when in ("before", "after")]
        assert {process.wait(timeout=60) for process in killed} <= {0, -signal.SIGKILL}
        assert -signal.SIGKILL in {process.returncode for process in killed}, CALLS[number - 1]
        enabled = [each for each in catalog.list_schedules() if each.is_enabled]
        assert len(enabled) <= 2 and by_hand in enabled
    last = wanted(0.002)
    while reconcile_schedules(catalog, last).retry_at is not None:
        time.sleep(0.2)
    (kept,) = [each for each in catalog.list_schedules() if each != by_hand]
    assert kept.is_enabled
    assert {each.change.kind for each in reconcile_schedules(catalog, last).applied} == {"keep"}
    time.sleep(6)
    runs = server.get("runs?page_size=200")["runs"]
    slots = [run["scheduled_at"] for run in runs if run.get("recurring_run_id")]
    assert len(slots) == len(set(slots)) >= 3, sorted(slots)
    assert any(run.get("recurring_run_id") == kept.schedule_id for run in runs), "the last one runs"
    reconcile_schedules(catalog, [])
    assert catalog.list_schedules() == [by_hand]
