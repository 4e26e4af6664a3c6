"""The learners: what turns the files of a training job into a model's folder. A task's kind of model chooses one."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ratchet.core.ports import Trainer
from ratchet.training.choosing import resolve
from ratchet.training.job import TrainingJob

Scratch = Callable[[], AbstractContextManager[str | Path]]
"""Makes the folder of a training's files, where all processes that work on it see it by the same path."""


class Learner(Protocol):
    @property
    def scratch(self) -> Scratch: ...

    def train(self, job: TrainingJob, *, job_path: Path, log_path: Path) -> None:
        """Leave the model, the start record and the history where the job says, and what was said in `log_path`.

        job_path: where the job is written for the processes that do the work. Raises what one of them wrote to
        `job.failure_path`, which no retry mends; Unavailable when they end otherwise, or too late.
        """


class TorchLearner:
    """A network, trained by the torch loop in as many workers as the task file says, or as are measured to be best."""

    def __init__(self, trainer: Trainer, *, scratch: Scratch = tempfile.TemporaryDirectory) -> None:
        self._trainer = trainer
        self.scratch = scratch

    def train(self, job: TrainingJob, *, job_path: Path, log_path: Path) -> None:
        job = resolve(job, self._trainer)
        _run(self._trainer, "ratchet.training.worker", job, job_path, log_path, world_size=job.spec.training.world_size)


class TreesLearner:
    """LightGBM's trees, grown in one process."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.scratch: Scratch = tempfile.TemporaryDirectory

    def train(self, job: TrainingJob, *, job_path: Path, log_path: Path) -> None:
        _run(self._trainer, "ratchet.training.trees", job, job_path, log_path, world_size=1)


def _run(trainer: Trainer, module: str, job: TrainingJob, job_path: Path, log_path: Path, *, world_size: int) -> None:
    job_path.write_text(job.model_dump_json())
    trainer.run(
        module=module,
        spec_path=job_path,
        world_size=world_size,
        log_path=log_path,
        failure_path=job.failure_path,
        timeout_s=job.spec.training.timeout_s,
    )
