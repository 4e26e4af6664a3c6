"""`training: auto`: a few measured steps of each layout, in the processes that would train, and then the choice.

A training that goes on from a checkpoint goes on as it was chosen then: the checkpoint has the choice with it.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import RatchetError
from ratchet.core.models.layout import (
    TimedLayout,
    WorkerLayout,
    choose_layout,
    is_worth_spreading,
    single_layouts,
    spread_layout,
)
from ratchet.core.ports import Trainer
from ratchet.processes import num_cores
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.training_spec import CommunicationSpec
from ratchet.training.checkpoint_places import newest_checkpoint
from ratchet.training.job import CHOICE, TrainingJob
from ratchet.training.pace_job import PaceChoice, PaceJob, Paces, run_paces

log = logging.getLogger(__name__)
_CHOICE_S = 1.0
"""Seconds of steps for each candidate: a few hundred of a small network, four of a large one."""
_SETTING_UP_S = 300.0
"""For torch's import, the rows and the first steps of a trial."""
_ROWS_MAX = 20_000
"""That a trial reads: more make no difference to a step."""
_COMMUNICATIONS = (
    CommunicationSpec(),
    CommunicationSpec(compress="bf16"),
    CommunicationSpec(bucket_mb=4),
    CommunicationSpec(bucket_mb=100),
)
"""Without what may change what is learned, or fail: fp16 has a largest number, PowerSGD leaves out, and a static graph
is a promise that only a person can make."""


class TrainingChoice(BaseModel):
    """What `auto` chose, and by which numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    world_size: int
    num_threads: int
    communication: CommunicationSpec
    text: str
    """Both, for people."""

    def of(self, spec: TaskSpec) -> TaskSpec:
        """The task with the numbers in the place of `auto`: what the model's own task.json says."""
        resolved = {name: getattr(self, name) for name in ("world_size", "num_threads", "communication")}
        return spec.model_copy(update={"training": spec.training.model_copy(update={"auto": False, **resolved})})


def resolve(job: TrainingJob, trainer: Trainer) -> TrainingJob:
    """The job as it is trained. Without `auto`, as it is. Leaves the choice beside the job (`CHOICE`).

    Raises what the trial of one process raised: the training would end so too.
    """
    if not job.spec.training.auto:
        return job
    path = job.model_path.with_name(CHOICE)
    choice = _choice_before(job) or _measure(job, trainer)
    path.write_text(choice.model_dump_json(indent=1) + "\n")
    log.info("training: auto: %s", choice.text)
    return job.model_copy(update={"spec": choice.of(job.spec), "choice_path": path})


def _choice_before(job: TrainingJob) -> TrainingChoice | None:
    """Of the checkpoint that the training goes on from."""
    found = newest_checkpoint(job.checkpoint_dir)
    if found is None:
        return None
    try:
        return TrainingChoice.model_validate_json((found[1] / CHOICE).read_bytes())
    except (OSError, ValueError) as error:
        log.warning("the checkpoint of %s is not taken: its choice of a layout cannot be read (%s)", found[0], error)
        shutil.rmtree(job.checkpoint_dir)
        return None


def _measure(job: TrainingJob, trainer: Trainer) -> TrainingChoice:
    num_rows, training, cores = pq.read_metadata(job.train_path).num_rows, job.spec.training, num_cores()
    num_steps = max(1, round(num_rows / training.batch_size)) * training.num_epochs
    folder = job.model_path.with_name("trial")
    folder.mkdir(exist_ok=True)
    alone = [PaceChoice(num_threads=each.num_threads) for each in single_layouts(cores)]
    found = _paces(job, trainer, folder / "alone", world_size=1, choices=alone)
    tried = [(choice, TimedLayout(WorkerLayout(1, choice.num_threads), step_s)) for choice, step_s in _timed(found)]
    layout = spread_layout(num_cores=cores, num_gpus=found.num_gpus, batch_size=training.batch_size, num_rows=num_rows)
    if layout is not None and is_worth_spreading([each for _, each in tried], num_steps=num_steps):
        tried += _spread(job, trainer, folder / "spread", layout)
    best, text = choose_layout([each for _, each in tried], num_steps=num_steps)
    choice, candidate = tried[best]
    return TrainingChoice(
        world_size=candidate.layout.world_size,
        num_threads=candidate.layout.num_threads,
        communication=choice.communication,
        text=text,
    )


def _spread(
    job: TrainingJob, trainer: Trainer, folder: Path, layout: WorkerLayout
) -> list[tuple[PaceChoice, TimedLayout]]:
    """Of several workers; none where they cannot train here, as for want of memory."""
    choices = [PaceChoice(communication=each, num_threads=layout.num_threads) for each in _COMMUNICATIONS]
    try:
        found = _paces(job, trainer, folder, world_size=layout.world_size, choices=choices)
    except RatchetError as error:
        log.warning("%s were tried and did not train: %s", layout.text, error)
        return []
    return [(choice, TimedLayout(layout, step_s, choice.communication.text)) for choice, step_s in _timed(found)]


def _timed(paces: Paces) -> list[tuple[PaceChoice, float]]:
    return [(each.choice, each.step_s) for each in paces.paces if each.step_s is not None]


def _paces(
    job: TrainingJob, trainer: Trainer, folder: Path, *, world_size: int, choices: Sequence[PaceChoice]
) -> Paces:
    folder.mkdir(exist_ok=True)
    trial = PaceJob(
        training=_trial_of(job, folder, world_size=world_size),
        choices=tuple(choices),
        choice_s=_CHOICE_S,
        paces_path=folder / "paces.json",
    )
    return run_paces(trial, trainer, folder, timeout_s=min(_SETTING_UP_S, job.spec.training.timeout_s))


def _trial_of(job: TrainingJob, folder: Path, *, world_size: int) -> TrainingJob:
    """The same with some of its rows, and with nothing in the place of what needs all of them."""
    rows = folder / "train.parquet"
    pq.write_table(ds.dataset(job.train_path).head(_ROWS_MAX), rows)
    asked = {"auto": False, "world_size": world_size, "class_weights": "none", "calibrate": "none"}
    training = job.spec.training.model_copy(update=asked)
    return job.model_copy(
        update={
            "spec": job.spec.model_copy(update={"training": training}),
            "train_path": rows,
            "val_path": rows,
            "environment_path": None,
            "progress_path": None,
            "failure_path": folder / "failure.json",
        }
    )
