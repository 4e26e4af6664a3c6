"""A full disk: the engine pauses, says so, and finishes its runs when there is room again."""

import errno
import sqlite3
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from embedded.control_plane.engine.attempt import Folders
from embedded.control_plane.engine.engine import Engine
from embedded.control_plane.engine.room import is_out_of_room
from embedded.control_plane.kfp.launch import add_run
from embedded.control_plane.kfp.store import Store
from tests.kfp_server import compile_tiny

FULL = sqlite3.OperationalError("database or disk is full")


class FullStore(Store):
    """A store on a disk that is full while the test says so. Reading goes on."""

    is_full = False

    def execute(self, sql, values):
        if self.is_full:
            raise FULL
        super().execute(sql, values)


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def has_succeeded(store: Store, run_id: str) -> bool:
    return store.get("run", run_id)["state"] == "SUCCEEDED"


@pytest.mark.slow
def test_runs_are_finished_when_there_is_room_again(tmp_path: Path) -> None:
    store = FullStore(tmp_path / "pipelines.db")
    folders = Folders(data_dir=tmp_path, secrets_dir=tmp_path, project_dir=Path.cwd(), engine_id=uuid.uuid4().hex)
    engine = Engine(store, folders)
    spec = yaml.safe_load(compile_tiny(tmp_path / "tiny.yaml").read_text())
    config = {"parameters": {"task": "digits", "seconds": 0, "is_bad": False}}
    body = {"display_name": "r", "pipeline_spec": spec, "runtime_config": config}
    engine.start()
    try:
        first, second = (add_run(store, body)["run_id"] for _ in range(2))
        store.is_full = True
        engine.submit(first)
        wait_for(lambda: bool(engine.room.problem), "the engine pauses")
        assert "disk is full" in engine.room.problem
        engine.submit(second)
        time.sleep(1.2)
        assert engine.room.problem
        store.is_full = False
        for run_id in (first, second):
            wait_for(partial(has_succeeded, store, run_id), "the run ends")
        assert engine.room.problem == ""
    finally:
        engine.stop()
        store.close()


def test_a_transaction_that_finds_the_disk_full_does_not_end_all_later_ones(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db")
    store.execute("pragma max_page_count = 40", ())
    with pytest.raises(sqlite3.OperationalError, match="full"), store.transaction():
        for number in range(1000):
            store.execute("insert into cache values ('s', ?, ?)", (str(number), "x" * 4096))
    store.execute("pragma max_page_count = 100000", ())
    store.check_writable()
    assert store.read("select count(*) from cache", ()) == [(0,)]
    store.close()


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        pytest.param(FULL, True, id="full"),
        pytest.param(sqlite3.OperationalError("disk I/O error"), True, id="the-log-cannot-grow"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), True, id="no-space"),
        pytest.param(sqlite3.OperationalError("no such table: x"), False, id="a-defect-of-ours"),
        pytest.param(ValueError("disk"), False, id="another-error"),
    ],
)
def test_only_a_full_disk_pauses_the_engine(error, is_so):
    assert is_out_of_room(error) == is_so
