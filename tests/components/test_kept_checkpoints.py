"""A training whose machine is gone goes on elsewhere, from the checkpoint in the object store, to the same weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ratchet.adapters.s3 import S3ObjectStore
from ratchet.core.ports import ObjectStore
from ratchet.settings import Settings, child_env
from ratchet.stores.finished import FinishedWork
from tests.components.finetune_once import finetune
from tests.components.rollout_world import TASK, Objects

INPUTS = {"dataset version": "digits/v1", "code": "c" * 64}


@pytest.mark.stack
@pytest.mark.whole
def test_a_killed_step_goes_on_on_another_machine_and_gives_the_same_bits(
    s3_settings: Settings, tmp_path: Path
) -> None:
    objects = S3ObjectStore.of(s3_settings)
    for name in ("first", "second", "whole"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-m", "tests.components.finetune_once", str(tmp_path / "first")]
    process = subprocess.Popen(command, env=child_env(s3_settings.as_env()), start_new_session=True)
    folder = FinishedWork(objects, s3_settings.ratchet_bucket).folder_of(TASK)
    wait_for(objects, f"{folder}checkpoint.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    digest = finetune(tmp_path / "second", objects, s3_settings.ratchet_bucket)
    assert "going on after epoch" in (tmp_path / "second" / "log.txt").read_text()
    assert not [uri for uri in objects.list_uris(folder) if "checkpoint" in uri]
    assert finetune(tmp_path / "whole", Objects(), "ratchet") == digest
    assert "going on after epoch" not in (tmp_path / "whole" / "log.txt").read_text()


def wait_for(objects: ObjectStore, uri: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while not objects.exists(uri):
        assert process.poll() is None and time.monotonic() < deadline, "the training ended before it was killed"
        time.sleep(0.05)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "from" / "epoch-0003"
    path.mkdir(parents=True)
    (path / "tensors.safetensors").write_bytes(b"tensors")
    (path / "state.json").write_bytes(b"{}")
    return path


def fetched(objects: Objects, inputs: dict[str, str], to: Path, *, run_id: str = "run-1") -> list[str]:
    FinishedWork(objects, "ratchet").of_run(TASK, run_id).fetch_checkpoint(inputs, to)
    return sorted(path.name for path in to.rglob("*")) if to.exists() else []


def test_a_checkpoint_comes_back_for_the_same_inputs_alone(checkpoint: Path, tmp_path: Path) -> None:
    objects = Objects()
    steps = FinishedWork(objects, "ratchet").of_run(TASK, "run-1")
    steps.put_checkpoint(INPUTS, path=checkpoint)
    assert fetched(objects, INPUTS, tmp_path / "same") == ["epoch-0003", "state.json", "tensors.safetensors"]
    assert fetched(objects, {**INPUTS, "code": "d" * 64}, tmp_path / "other") == []
    steps.drop_checkpoint()
    assert fetched(objects, INPUTS, tmp_path / "dropped") == []


def test_the_newest_checkpoint_takes_the_place_of_the_one_before(checkpoint: Path, tmp_path: Path) -> None:
    objects = Objects()
    steps = FinishedWork(objects, "ratchet").of_run(TASK, "run-1")
    steps.put_checkpoint(INPUTS, path=checkpoint)
    newer = checkpoint.rename(checkpoint.with_name("epoch-0004"))
    (newer / "state.json").write_bytes(b'{"newer": true}')
    steps.put_checkpoint(INPUTS, path=newer)
    assert fetched(objects, INPUTS, tmp_path / "to")[0] == "epoch-0004"
    assert len(list(objects.list_uris("s3://ratchet/finished/"))) == 3


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
def test_a_checkpoint_that_was_changed_or_lost_is_not_taken(name: str, checkpoint: Path, tmp_path: Path) -> None:
    objects = Objects()
    FinishedWork(objects, "ratchet").of_run(TASK, "run-1").put_checkpoint(INPUTS, path=checkpoint)
    (uri,) = [uri for uri in objects.list_uris("s3://ratchet/finished/") if uri.endswith(name)]
    objects.put(uri, b"something else")
    assert fetched(objects, INPUTS, tmp_path / "changed") == []
    objects.delete(uri)
    assert fetched(objects, INPUTS, tmp_path / "lost") == []
