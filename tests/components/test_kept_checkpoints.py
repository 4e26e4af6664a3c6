"""A training whose machine is gone goes on elsewhere, from the checkpoint in the object store, to the same weights."""

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.finetune.step import finetune_step
from ratchet.adapters.child_process import ChildProcessTrainer
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.core.errors import Unavailable
from ratchet.core.ports import ObjectStore
from ratchet.settings import Settings
from ratchet.stores.finished import FinishedWork
from ratchet.stores.run_outcomes import RunOutcomes
from ratchet.training.job import TrainingJob
from ratchet.training.learners import Learner, Scratch, TorchLearner
from ratchet.training.loop import train
from tests.components.learning import one_worker
from tests.components.rollout_world import TASK, Objects
from tests.components.test_challenger import commit_digits
from tests.components.test_training import spec_of
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.models import changed

INPUTS = {"dataset version": "digits/v1", "code": "c" * 64}
SLOW = spec_of("Slow")
SPEC = changed(
    SLOW,
    {
        "training": {
            **SLOW.training.model_dump(),
            "num_epochs": 16,
            "world_size": 1,
            "checkpoint_every_steps": 5,
            "freeze": ("head.*",),
            "unfreeze_after": 2,
            "ema_decay": 0.9,
        }
    },
)


class ThisProcess:
    """A learner that starts no worker."""

    def __init__(self) -> None:
        self.scratch: Scratch = tempfile.TemporaryDirectory

    def train(self, job: TrainingJob, *, job_path: Path, log_path: Path) -> None:
        with one_worker(job_path.parent):
            train(job, rank=0, world_size=1)


def finetune(folder: Path, objects: ObjectStore, bucket: str, learner: Learner) -> str:
    """The model's digest."""
    folder.mkdir()
    datasets = FakeDatasetStore()
    digest, _ = finetune_step(
        SPEC,
        commit_digits(datasets),
        datasets=datasets,
        objects=objects,
        ledger=FakeLedger(),
        learner=learner,
        model_path=folder / "model",
        log_path=folder / "log.txt",
        finished=FinishedWork(objects, bucket).of_run(TASK, "run-1"),
    )
    return digest


@pytest.mark.stack
@pytest.mark.whole
def test_a_step_that_is_killed_and_one_that_is_stopped_go_on_elsewhere_and_give_the_same_bits(
    s3_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objects, bucket = S3ObjectStore.of(s3_settings), s3_settings.ratchet_bucket
    folder = FinishedWork(objects, bucket).folder_of(TASK)
    killed = attempt(tmp_path / "killed", s3_settings)
    wait_until(lambda: objects.exists(f"{folder}checkpoint.json"), killed)
    os.killpg(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    stopped = attempt(tmp_path / "stopped", s3_settings)
    log_path = tmp_path / "stopped" / "log.txt"
    wait_until(lambda: log_path.exists() and "going on after" in log_path.read_text(), stopped)
    os.kill(stopped, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(stopped, 0)[1]) == Unavailable.exit_code
    failure = objects.fetch(RunOutcomes(objects, bucket).uri_of("run-1", "failure-finetune")).decode()
    place = re.search(r"SIGTERM, and did after (step \d+ of epoch \d+) of 16\. A checkpoint is written", failure)
    assert place is not None, failure
    with caplog.at_level("INFO"):
        digest = finetune(tmp_path / "last", objects, bucket, ThisProcess())
    assert f"going on after {place[1]}" in caplog.messages
    assert not [uri for uri in objects.list_uris(folder) if "checkpoint" in uri]
    assert finetune(tmp_path / "whole", Objects(), "ratchet", ThisProcess()) == digest


def attempt(folder: Path, settings: Settings) -> int:
    """Of the step, in a process group of its own as a pod makes it; ends with the exit code of its error."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        objects, bucket = S3ObjectStore.of(settings), settings.ratchet_bucket
        with RunOutcomes(objects, bucket).step("finetune", run_id="run-1"):
            finetune(folder, objects, bucket, TorchLearner(ChildProcessTrainer()))
    except Unavailable as error:
        os._exit(error.exit_code)
    finally:
        os._exit(1)


def wait_until(is_so: Callable[[], bool], pid: int) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline, "the training ended too soon"
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
