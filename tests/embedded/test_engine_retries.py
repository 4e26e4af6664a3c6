"""Which ends of a task KFP's retry policy repeats: a kill, no memory left, a crash, any exit code but a final one."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, kubernetes

from embedded.control_plane.engine.engine import Engine
from embedded.control_plane.engine.leaf import Folders
from embedded.control_plane.engine.records import TaskRecord, TaskState
from embedded.control_plane.engine.tasks import RESUMES_MAX
from embedded.control_plane.kfp.launch import add_run
from embedded.control_plane.kfp.store import Store
from tests.fakes.pipeline_play import compiled

NUM_RETRIES = 2
FINAL = "4,5"
ENDS = {
    "killed": "os.kill(os.getpid(), 9) if tries == 1 else None",
    "out-of-memory": "os._exit(137) if tries == 1 else None",
    "crashes": "os.kill(os.getpid(), 11)",
    "refuses": "os._exit(4)",
    "fails": "os._exit(3)",
}
"""What each task does; `tries` counts its attempts from 1."""


@dsl.component(install_kfp_package=False)
def attempt(name: str, code: str, folder: str):
    import os
    import pathlib

    tries = len(list(pathlib.Path(folder).glob(f"{name}.*"))) + 1
    pathlib.Path(folder, f"{name}.{tries}").touch()
    exec(code, {"os": os, "tries": tries})


@dsl.pipeline(name="ends")
def ends(folder: str):
    for name, code in ENDS.items():
        task = attempt(name=name, code=code, folder=folder).set_display_name(name).set_caching_options(False)
        task.set_retry(NUM_RETRIES, backoff_duration="0s")
        kubernetes.add_pod_annotation(task, annotation_key="ratchet/final-exit-codes", annotation_value=FINAL)


class Backend:
    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(folder / "pipelines.db")
        folders = Folders(data_dir=folder, secrets_dir=folder, project_dir=Path.cwd(), engine_id=uuid.uuid4().hex)
        self.engine = Engine(self.store, folders)

    def add(self, wire: dict[str, Any]) -> str:
        body = {
            "display_name": "r",
            "pipeline_spec": wire,
            "runtime_config": {"parameters": {"folder": str(self.folder)}},
        }
        return str(add_run(self.store, body)["run_id"])

    def ended(self, run_id: str) -> dict[str, TaskRecord]:
        deadline = time.monotonic() + 60
        while self.store.get("run", run_id)["state"] not in ("SUCCEEDED", "FAILED"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return {record.display_name: record for record in self.store.records_of(run_id).values()}

    def tries(self, name: str) -> int:
        return len(list(self.folder.glob(f"{name}.*")))


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    backend = Backend(tmp_path)
    yield backend
    backend.engine.stop()
    backend.store.close()


def platform_of(pipeline: Any, folder: Path) -> dict[str, Any]:
    import yaml
    from kfp import compiler

    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    spec, platform = yaml.safe_load_all(path.read_text())
    return {"pipeline_spec": spec, "platform_spec": platform}


def test_a_kill_is_repeated_a_crash_not_for_ever_and_a_final_exit_code_never(backend: Backend, tmp_path: Path) -> None:
    backend.engine.start()
    run_id = backend.add(platform_of(ends, tmp_path))
    backend.engine.submit(run_id)
    records = backend.ended(run_id)
    tries = {name: backend.tries(name) for name in ENDS}
    always = NUM_RETRIES + 1
    assert tries == {"killed": 2, "out-of-memory": 2, "crashes": always, "refuses": 1, "fails": always}
    failed = {name for name in ENDS if records[name].state is TaskState.FAILED}
    assert failed == {"crashes", "refuses", "fails"}
    assert "SIGSEGV" in records["crashes"].error


@dsl.pipeline(name="one")
def one(folder: str):
    attempt(name="one", code="__import__('time').sleep(60 if tries % 2 else 0)", folder=folder)


@pytest.mark.parametrize(
    ("num_resumed", "state"), [(RESUMES_MAX - 1, TaskState.SUCCEEDED), (RESUMES_MAX, TaskState.FAILED)]
)
def test_a_task_under_which_the_server_dies_each_time_is_given_up(
    tmp_path: Path, num_resumed: int, state: TaskState
) -> None:
    """It would keep the server from all other runs otherwise. Up to then such a death is no attempt of the task."""
    died = Backend(tmp_path)
    run_id = died.add(compiled(one))
    died.engine.start()
    died.engine.submit(run_id)
    deadline = time.monotonic() + 30
    while not died.tries("one"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    died.engine.stop()
    leaf = died.store.records_of(run_id)["attempt"]
    assert leaf.state is TaskState.RUNNING
    died.store.put_task(run_id, leaf.model_copy(update={"num_resumed": num_resumed}))
    died.store.close()
    again = Backend(tmp_path)
    again.engine.start()
    record = again.ended(run_id)["attempt"]
    again.engine.stop()
    again.store.close()
    assert (record.state, record.attempt) == (state, 0), record.error
    assert (f"died {RESUMES_MAX + 1} times" in record.error) == (state is TaskState.FAILED)
