"""Workers struck at random steps of a training, from a seed: SIGKILL, and SIGSTOP as of a machine that hangs. Whatever
the kind of model and whoever launches it, the weights are those of a training that nothing befell.

Two kinds, a kill each, in `make whole`; `make rank-chaos` has RANK_STRIKES (10) of both signals, of each kind under
each launcher.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from ratchet.adapters.torchrun import TorchrunTrainer
from ratchet.core.errors import Unavailable
from ratchet.core.ports import Trainer
from ratchet.tasks.identity import model_digest
from ratchet.tasks.training_spec import TrainingSpec
from ratchet.training.checkpoint_places import newest_checkpoint
from ratchet.training.job import TrainingJob
from ratchet.training.learners import TorchLearner
from ratchet.training.roll import state_of
from tests.components.learning import job_of
from tests.components.test_kinds import CASES
from tests.contract.test_trainers import train_job_trainer, workers_of
from tests.embedded.training_world import TrainingWorld, started_world

NUM_STRIKES = int(os.environ.get("RANK_STRIKES", "1"))
SIGNALS = (signal.SIGKILL, signal.SIGSTOP) if NUM_STRIKES > 1 else (signal.SIGKILL,)
SEED = 14
NUM_ROWS, EPOCH_STEPS, NUM_EPOCHS, CHECKPOINT_STEPS = 720, 19, 12, 3
SILENCE_S_MAX = 120 + 60
"""The longest that a lost worker may hold up the others, and two nodes' start on a busy machine after it."""
KINDS = {"tabular": "tabular-number", "text": "text", "image": "image"}

pytestmark = [pytest.mark.whole, pytest.mark.timeout(240 + NUM_STRIKES * SILENCE_S_MAX)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingWorld]:
    with started_world(tmp_path_factory.mktemp("training")) as world:
        yield world


@pytest.fixture(scope="module", params=list(KINDS) if NUM_STRIKES > 1 else ["text", "image"])
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    spec, rows_of, _, _ = CASES[KINDS[request.param]]
    training = {
        **spec.training.model_dump(),
        "world_size": 2,
        "timeout_s": 600,
        "batch_size": 32,
        "num_epochs": NUM_EPOCHS,
        "checkpoint_every_steps": CHECKPOINT_STEPS,
    }
    longer = spec.model_copy(update={"training": TrainingSpec.model_validate(training)})
    job = job_of(tmp_path_factory.mktemp(request.param) / "job", longer, rows_of(NUM_ROWS, 0))
    learn(job, TorchrunTrainer())
    return job


@pytest.mark.parametrize("launcher", ["torchrun", "train-job"] if NUM_STRIKES > 1 else ["train-job"])
def test_workers_that_are_lost_at_any_step_cost_no_bit(
    undisturbed: TrainingJob, world: TrainingWorld, tmp_path: Path, launcher: str
):
    trainer: Trainer = TorchrunTrainer() if launcher == "torchrun" else train_job_trainer(world)
    job = beside(undisturbed, tmp_path / "job")
    striker = Striker(job, random.Random(f"{SEED} {launcher} {undisturbed.spec.model.kind}"))
    striker.start()
    for _ in range(NUM_STRIKES + 1):  # an attempt starts its workers again twice, and a step is tried again
        with suppress(Unavailable):
            learn(job, trainer)
            break
    striker.is_over.set()
    striker.join()
    assert len(striker.struck) == NUM_STRIKES, striker.struck
    assert model_digest(job.model_path) == model_digest(undisturbed.model_path), striker.struck
    assert max(striker.silences_s, default=0) < SILENCE_S_MAX, striker.struck


def learn(job: TrainingJob, trainer: Trainer) -> None:
    folder = job.model_path.parent
    TorchLearner(trainer).train(job, job_path=folder / "job.json", log_path=folder / "log.txt")


def beside(job: TrainingJob, folder: Path) -> TrainingJob:
    """The same training, in a folder of its own."""
    folder.mkdir()
    paths = {name: folder / value.name for name, value in job if isinstance(value, Path) and "train" not in name}
    return job.model_copy(update={**paths, "val_path": job.val_path})


class Striker(threading.Thread):
    """Strikes one worker at each of its steps, as soon as there is a checkpoint from beyond the step."""

    def __init__(self, job: TrainingJob, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._job, self._chance = job, chance
        self.is_over = threading.Event()
        self.struck: list[str] = []
        self.silences_s: list[float] = []

    def run(self) -> None:
        # The last quarter is left to end in: a strike there may find nothing to strike.
        steps = sorted(self._chance.sample(range(1, EPOCH_STEPS * NUM_EPOCHS * 3 // 4), NUM_STRIKES))
        for step in steps:
            self._wait(partial(self._is_beyond, step - 1))
            time.sleep(self._chance.uniform(0, 0.02))
            self._strike(step)
            struck_at, before = time.monotonic(), self._step()
            self._wait(partial(self._is_beyond, before))
            self.silences_s.append(time.monotonic() - struck_at)

    def _strike(self, step: int) -> None:
        number = self._chance.choice(SIGNALS)
        self._wait(lambda: bool(self._running()))
        with suppress(ProcessLookupError, IndexError):
            pid = self._chance.choice(self._running())
            os.kill(pid, number)
            self.struck.append(f"{signal.Signals(number).name} after step {step}")

    def _running(self) -> list[int]:
        return [pid for pid in workers_of(self._job) if state_of(pid) not in ("", "T", "Z")]

    def _step(self) -> int:
        found = newest_checkpoint(self._job.checkpoint_dir)
        return found[0].epoch * EPOCH_STEPS + found[0].step if found else 0

    def _is_beyond(self, step: int) -> bool:
        return self._step() > step

    def _wait(self, is_so: Callable[[], bool]) -> None:
        while not is_so() and not self.is_over.is_set():
            time.sleep(0.005)
