"""Broken pipelines: each is refused with its reason, or its run ends, and nothing of it is unexpected.

The engine is the real one; only the processes of tasks are played: they write what a hostile component could.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from kfp import compiler

from embedded.control_plane.engine.engine import Engine
from embedded.control_plane.engine.leaf import Folders
from embedded.control_plane.engine.loading import load_pipeline, parse_upload
from embedded.control_plane.engine.task_process import Ending, TaskCommand, TaskExit, TaskProcess
from embedded.control_plane.errors import ControlPlaneError
from embedded.control_plane.kfp.launch import add_run
from embedded.control_plane.kfp.store import Store
from embedded.control_plane.kfp.wire import show, task_details
from tests.embedded import kfp_cluster_constructs, kfp_constructs, kfp_value_constructs
from tests.fuzz.hostile import hostile_value, json_bytes, mangled, mutated
from tests.fuzz.running import fuzz

NAMES = (
    "sequence",
    "artifacts",
    "if_on_named_output",
    "if_elif_else",
    "loop_static",
    "loop_dynamic_nested",
    "loop_artifacts",
    "nested",
    "exit_after_failure",
    "ignore_failure",
    "optional_inputs",
    "container",
    "import_file",
    "variables",
    "retries",
    "placeholders",
    "claim_from_first_to_last",
    "claim_by_input",
    "scratch_volume",
    "branch_on_fields",
    "nested_collected",
    "final_status",
    "names_by_inputs",
    "numbers_in_arguments",
    "all_placeholders",
)
RUN_S_MAX = 20


def compiled(folder: Path, name: str) -> list[dict[str, Any]]:
    modules = (kfp_constructs, kfp_cluster_constructs, kfp_value_constructs)
    module = next(module for module in modules if hasattr(module, name))
    path = folder / f"{name}.yaml"
    compiler.Compiler().compile(getattr(module, name), str(path))
    return list(yaml.safe_load_all(path.read_text()))


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What requests carry: a pipeline, or a pipeline with its platform."""
    folder = tmp_path_factory.mktemp("compiled")
    found = [compiled(folder, name) for name in NAMES]
    return [
        documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        for documents in found
    ]


def test_a_broken_file_is_refused_or_read(wires: list[dict[str, Any]]) -> None:
    files = [yaml.safe_dump(wire, sort_keys=False).encode() for wire in wires]
    pieces = (
        b"&a ",
        b"*a",
        b"!!int ",
        b"!!bool x",
        b"2001-99-99",
        b".inf",
        b"? ",
        b"- " * 99,
        b"<<: ",
        b"{{$",
        b"---\n",
    )

    def check(raw: bytes) -> None:
        try:
            load_pipeline(parse_upload(raw))
        except ControlPlaneError as error:
            assert len(str(error)) < 5_000

    def make(rng: Random) -> bytes:
        return mangled(rng, rng.choice(files), num_changes=rng.choice((1, 1, 2, 8)), extra=pieces)

    fuzz(make, check, num_inputs=600)


class _Played:
    """Processes that end at once. Of one in three the output is what no component should write."""

    def __init__(self) -> None:
        self.rng = Random(0)

    def run(self, process: TaskProcess, command: TaskCommand) -> TaskExit:
        del process
        _ = [word.encode() + b"\0" for word in command.words], [f"{k}={v}".encode() for k, v in command.env.items()]
        asked = next((json.loads(word) for word in command.words if word.startswith('{"inputs"')), None)
        if asked:
            self._write(asked["outputs"])
        return TaskExit(Ending.EXITED, 0 if self.rng.random() < 0.9 else 1, "it failed")

    def _write(self, outputs: dict[str, Any]) -> None:
        values = {
            key: self.rng.choice(("x", 1, 0.5, True, ["a", "b"], [{"n": 1}])) for key in outputs.get("parameters", {})
        }
        artifacts = {key: {"artifacts": [{"metadata": {"length": 1}}]} for key in outputs.get("artifacts", {})}
        written: Any = {"parameterValues": values, "artifacts": artifacts}
        if self.rng.random() < 0.3:
            written = mutated(self.rng, written, num_changes=2)
        path = Path(outputs["outputFile"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json_bytes(written))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Engine, _Played]]:
    played = _Played()
    monkeypatch.setattr(TaskProcess, "run", lambda process, command: played.run(process, command))
    for folder in ("secrets/hub", "secrets/settings"):
        (tmp_path / folder).mkdir(parents=True)
    store = Store(tmp_path / "pipelines.db")
    folders = Folders(
        data_dir=tmp_path, secrets_dir=tmp_path / "secrets", project_dir=Path.cwd(), engine_id=uuid.uuid4().hex
    )
    engine = Engine(store, folders)
    engine.start()
    yield store, engine, played
    assert any(thread.name == "engine" and thread.is_alive() for thread in threading.enumerate())
    engine.stop()
    store.close()


def test_a_broken_pipeline_is_refused_or_its_run_ends_with_a_reason(
    wires: list[dict[str, Any]], world: tuple[Store, Engine, _Played]
) -> None:
    store, engine, played = world
    num_run = 0

    def make(rng: Random) -> dict[str, Any]:
        played.rng = rng
        wire = mutated(rng, rng.choice(wires), num_changes=rng.choice((0, 1, 1, 1, 2, 3)))
        root = wire.get("pipeline_spec", wire) if isinstance(wire, dict) else {}
        inputs = root.get("root", {}) if isinstance(root, dict) else {}
        names = inputs.get("inputDefinitions", {}) if isinstance(inputs, dict) else {}
        known = names.get("parameters", {}) if isinstance(names, dict) else {}
        parameters = (
            {name: rng.choice(("x", 3, hostile_value(rng))) for name in known} if isinstance(known, dict) else {}
        )
        return {"display_name": "r", "pipeline_spec": wire, "runtime_config": {"parameters": parameters}}

    def check(body: dict[str, Any]) -> None:
        nonlocal num_run
        try:
            run_id = add_run(store, body)["run_id"]
        except ControlPlaneError as error:
            assert len(str(error)) < 5_000
            return
        num_run += 1
        engine.submit(run_id)
        deadline = time.monotonic() + RUN_S_MAX
        while (run := store.get("run", run_id))["state"] not in ("SUCCEEDED", "FAILED"):
            if is_waiting_for_a_retry(store, run_id):
                engine.terminate(run_id)
            assert time.monotonic() < deadline, f"never over: {run['state']}"
            time.sleep(0.002)
        tasks = task_details(run_id, store.records_of(run_id))
        json.dumps([show(run), tasks], allow_nan=False, ensure_ascii=False).encode()
        texts = [str(task.get("error")) for task in tasks] + [str(run.get("error"))]
        assert not [text for text in texts if "unexpected error" in text], texts
        assert not [task for task in tasks if task["state"] in ("RUNNING", "PENDING")], "shown as running"

    fuzz(make, check, num_inputs=500)
    assert num_run, "all were refused: the engine was not tried"


def is_waiting_for_a_retry(store: Store, run_id: str) -> bool:
    return any(record.retry_at for record in store.records_of(run_id).values())
