"""What `pace.py` is told to measure, and what it found. Importing this loads no torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ratchet.core.models.compiling import Compiled
from ratchet.core.ports import Trainer
from ratchet.tasks.training_spec import CommunicationSpec
from ratchet.training.job import TrainingJob


class PaceChoice(BaseModel):
    """One way to make the same steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    communication: CommunicationSpec = CommunicationSpec()
    num_threads: int = 1
    """Of each worker."""
    compile: Compiled = "off"


class PaceJob(BaseModel):
    """What to measure, and where to write it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: TrainingJob
    """Its rows and its model; no file of its results is written."""
    choices: tuple[PaceChoice, ...]
    choice_s: float
    """Seconds for the steps of a choice, in two halves; at least four steps are made in each."""
    paces_path: Path


class Pace(BaseModel):
    """Of one choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: PaceChoice
    step_s: float | None = None
    """Median of all its steps."""
    start_s: float = 0.0
    """What it took before them beyond that: the compiler, where it is compiled."""
    num_steps: int = 0
    refusal: str = ""
    """Why it cannot be trained so; then nothing is measured."""


class Paces(BaseModel):
    """What a `PaceJob` found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paces: tuple[Pace, ...]
    num_steps: int
    """Of an epoch."""
    num_parameters: int
    """That are trained."""
    num_gpus: int
    """Of the machine."""


def run_paces(job: PaceJob, trainer: Trainer, folder: Path, *, timeout_s: float) -> Paces:
    """Measure in as many workers as the job's task says. folder: for the files of the run."""
    (folder / "job.json").write_text(job.model_dump_json())
    trainer.run(
        module="ratchet.training.pace",
        spec_path=folder / "job.json",
        world_size=job.training.spec.training.world_size,
        log_path=folder / "log.txt",
        failure_path=job.training.failure_path,
        timeout_s=timeout_s,
    )
    return Paces.model_validate_json(job.paces_path.read_bytes())
