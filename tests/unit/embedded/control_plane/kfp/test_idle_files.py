"""What tasks share goes when nobody has used it for long, and never while somebody does."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from embedded.control_plane.config import Retention
from embedded.control_plane.engine.attempt import Folders
from embedded.control_plane.engine.claims import create_claim, delete_claim
from embedded.control_plane.engine.environments import EnvironmentBuilder, remove_idle_environments
from embedded.control_plane.engine.pip_calls import PipCall, PipNeeds
from embedded.control_plane.engine.task_process import TaskProcess
from embedded.control_plane.engine.values import Values
from embedded.control_plane.engine.volumes import remove_idle_volumes, used_by
from embedded.control_plane.kfp.idle import sweep_idle
from embedded.layout import Layout, remove_half_written, write_private
from embedded.log_files import trim_open_log

NEEDS = PipNeeds(calls=(PipCall(options=(), requirements=("one",)),))
LATER = 1e12
"""After any use."""


class CheapBuilder(EnvironmentBuilder):
    num_built = 0

    def build(self, folder: Path, calls: object) -> None:
        folder.mkdir()
        time.sleep(0.02)
        self.num_built += 1


class World:
    """A folder of environments whose builds cost nothing."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "environments"
        self.builder = CheapBuilder(self.root, TaskProcess(), log_path=folder / "log", mark="", cwd=folder)

    @property
    def num_built(self) -> int:
        return self.builder.num_built


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def volumes(tmp_path):
    return tmp_path / "volumes"


def mount(volumes: Path, name: str, run_id: str = "run") -> Path:
    with used_by(volumes, name, run_id=run_id):
        (volumes / name).mkdir(parents=True, exist_ok=True)
    return volumes / name


def test_an_environment_in_use_stays_and_goes_when_it_was_left(world):
    with world.builder.environment_for(NEEDS) as folder:
        assert remove_idle_environments(world.root, unused_since=LATER) == 0 and folder.is_dir()
    assert remove_idle_environments(world.root, unused_since=time.time() - 3600) == 0 and folder.is_dir()
    assert remove_idle_environments(world.root, unused_since=LATER) == 1 and not folder.exists()


def test_an_environment_that_went_is_built_anew(world):
    with world.builder.environment_for(NEEDS):
        pass
    remove_idle_environments(world.root, unused_since=LATER)
    with world.builder.environment_for(NEEDS) as folder, world.builder.environment_for(NEEDS) as same:
        assert folder == same and folder.is_dir()
    assert world.num_built == 2


def test_two_tasks_that_want_one_environment_at_once_share_a_build_and_run_side_by_side(world):
    """Both hold it until both have it: neither waits for the end of the other."""
    both_inside = threading.Barrier(2, timeout=20)

    def use(_: int) -> Path:
        with world.builder.environment_for(NEEDS) as folder:
            both_inside.wait()
            return folder

    with ThreadPoolExecutor(2) as threads:
        assert len(set(threads.map(use, range(2)))) == 1
    assert world.num_built == 1


def test_half_an_environment_goes_and_the_whole_one_beside_it_stays(world):
    with world.builder.environment_for(NEEDS) as folder:
        pass
    half = folder.with_name(f"{folder.name.rpartition('-')[0]}-12345678")
    half.mkdir()
    assert remove_idle_environments(world.root, unused_since=0) == 1
    assert folder.is_dir() and not half.exists()


def test_a_volume_goes_when_no_run_that_mounted_it_goes_on_and_its_time_is_over(volumes):
    data = mount(volumes, "data")
    assert remove_idle_volumes(volumes, unfinished={"run"}, unused_since=LATER) == []
    assert remove_idle_volumes(volumes, unfinished=(), unused_since=time.time() - 3600) == []
    assert data.is_dir()
    assert remove_idle_volumes(volumes, unfinished=(), unused_since=LATER) == ["data"]
    assert not data.exists() and not list(volumes.glob(".*/*"))


def test_a_volume_from_before_uses_were_noted_counts_from_now_on(volumes):
    (volumes / "old").mkdir(parents=True)
    os.utime(volumes / "old", (0, 0))
    now = time.time()
    assert remove_idle_volumes(volumes, unfinished=(), unused_since=now - 10) == []
    assert remove_idle_volumes(volumes, unfinished=(), unused_since=now - 10) == []
    assert remove_idle_volumes(volumes, unfinished=(), unused_since=LATER) == ["old"]


def test_uses_of_runs_that_are_over_do_not_pile_up(volumes):
    for number in range(5):
        mount(volumes, "data", f"run-{number}")
        os.utime(volumes / ".used" / "data" / f"run-{number}", (number + 1, number + 1))
    remove_idle_volumes(volumes, unfinished={"run-0"}, unused_since=0)
    assert {mark.name for mark in (volumes / ".used" / "data").iterdir()} == {"run-0", "run-4"}


def test_a_crash_between_the_rename_and_the_removal_leaves_no_volume_and_no_rest(volumes):
    mount(volumes, "data").rename(volumes / "data-renamed")
    (volumes / ".gone" / "abc").mkdir(parents=True)
    (volumes / "data-renamed").rename(volumes / ".gone" / "def")
    remove_idle_volumes(volumes, unfinished=(), unused_since=0)
    assert not (volumes / ".gone").exists()


def test_deeds_stay_as_long_as_their_run_may_do_them_again(volumes):
    inputs = Values(parameters={"pvc_name": "data", "access_modes": ["ReadWriteOnce"], "size": "1Gi"})
    create_claim(inputs, task_id="run/make", volumes_dir=volumes)
    delete_claim(inputs, task_id="run/drop", volumes_dir=volumes)
    remove_idle_volumes(volumes, unfinished={"run"}, unused_since=0)
    delete_claim(inputs, task_id="run/drop", volumes_dir=volumes)
    remove_idle_volumes(volumes, unfinished=(), unused_since=0)
    assert not list(volumes.glob(".*/*"))


def test_staged_inputs_go_when_their_run_is_over(tmp_path):
    folders = Folders(data_dir=tmp_path, secrets_dir=tmp_path, project_dir=tmp_path, engine_id="e")
    ended, goes_on = str(uuid4()), str(uuid4())
    for name in (ended, goes_on, "not-a-run"):
        (folders.staging_dir / name).mkdir(parents=True)
    sweep_idle(folders, Retention(), unfinished={goes_on}, now=datetime.now(UTC))
    assert (folders.staging_dir / ended).is_dir(), "it may just have been retried"
    sweep_idle(folders, Retention(), unfinished={goes_on}, now=datetime.now(UTC) + timedelta(hours=2))
    assert {path.name for path in folders.staging_dir.iterdir()} == {goes_on, "not-a-run"}


def test_zero_days_keep_permanently(tmp_path):
    folders = Folders(data_dir=tmp_path, secrets_dir=tmp_path, project_dir=tmp_path, engine_id="e")
    data = mount(folders.volumes_dir, "data")
    retention = Retention(keep_environment_days=0, keep_volume_days=0)
    sweep_idle(folders, retention, unfinished=(), now=datetime.now(UTC) + timedelta(days=9999))
    assert data.is_dir()


def test_a_log_that_a_server_has_open_is_begun_anew_and_its_end_is_kept(tmp_path):
    path = tmp_path / "server.log"
    with path.open("a") as server:
        server.write("old " * 100 + "newest\n")
        server.flush()
        assert not trim_open_log(path, bytes_max=1000)
        assert trim_open_log(path, bytes_max=50)
        server.write("next\n")
    assert path.read_text() == "next\n"
    kept = (tmp_path / "server.log.1").read_text()
    assert kept.endswith("newest\n") and len(kept) == 50


def test_small_files_that_were_half_written_go_and_whole_ones_stay(tmp_path):
    layout = Layout(state_dir=tmp_path)
    write_private(layout.secrets / "ratchet" / "RATCHET_X", "1")
    halves = [layout.secrets / "ratchet" / ".RATCHET_X.ab12_xyz", tmp_path / ".stack.json.abcdefgh"]
    for half in halves:
        half.write_text("hal")
    (tmp_path / ".gitignore").write_text("*")
    remove_half_written(layout)
    assert not any(half.exists() for half in halves)
    assert (layout.secrets / "ratchet" / "RATCHET_X").read_text() == "1" and (tmp_path / ".gitignore").exists()
