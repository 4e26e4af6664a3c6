"""`training: auto` and `compile: auto`: a few measured steps of each layout, in the processes that would train, then of
the compiled network in the layout that was chosen, and then the choice.

A training that goes on from a checkpoint goes on as it was chosen then: the checkpoint has the choice with it.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import DataRejected, RatchetError
from ratchet.core.models.compiling import (
    WORTH_TRYING_S,
    Compiled,
    TimedCompile,
    choose_compiled,
    compiled_ways,
    is_worth_compiling,
)
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
_COMPILING_S = 600.0
"""More for a trial that compiles: the longest measured took 38 s, and a busy machine ten times as long."""
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
    compile: Compiled = "off"
    text: str
    """All of it, for people."""

    def of(self, spec: TaskSpec) -> TaskSpec:
        """The task with the numbers in the place of `auto`: what the model's own task.json says."""
        resolved = {name: getattr(self, name) for name in ("world_size", "num_threads", "communication", "compile")}
        return spec.model_copy(update={"training": spec.training.model_copy(update={"auto": False, **resolved})})


def resolve(job: TrainingJob, trainer: Trainer) -> TrainingJob:
    """The job as it is trained. Where nothing is `auto`, as it is. Leaves the choice beside the job (`CHOICE`).

    Raises what the trial of one process raised: the training would end so too.
    """
    if not job.spec.training.is_measured_first:
        return job
    path = job.model_path.with_name(CHOICE)
    choice = _choice_before(job) or _measure(job, trainer)
    path.write_text(choice.model_dump_json(indent=1) + "\n")
    log.info("training: %s: %s", "auto" if job.spec.training.auto else "compile: auto", choice.text)
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
    num_rows, training = pq.read_metadata(job.train_path).num_rows, job.spec.training
    num_steps = max(1, round(num_rows / training.batch_size)) * training.num_epochs
    folder = job.model_path.with_name("trial")
    folder.mkdir(exist_ok=True)
    if training.auto:
        layout = _choose_layout(job, trainer, folder, num_rows=num_rows, num_steps=num_steps)
    else:
        layout = _given_layout(job, trainer, folder)
    compiled, why = _choose_compiled(job, trainer, folder, layout, num_steps=num_steps)
    return TrainingChoice(
        world_size=layout.timed.layout.world_size,
        num_threads=layout.timed.layout.num_threads,
        communication=layout.choice.communication,
        compile=compiled,
        text=". ".join(filter(None, (layout.text, why))),
    )


class _ChosenLayout(NamedTuple):
    choice: PaceChoice
    timed: TimedLayout
    num_gpus: int
    text: str


def _given_layout(job: TrainingJob, trainer: Trainer, folder: Path) -> _ChosenLayout:
    """What the task file says, timed as it is."""
    training = job.spec.training
    choice = PaceChoice(communication=training.communication, num_threads=training.num_threads)
    found = _paces(job, trainer, folder / "given", world_size=training.world_size, choices=[choice])
    pace = found.paces[0]
    if pace.step_s is None:
        raise DataRejected(pace.refusal)
    layout = WorkerLayout(training.world_size, training.num_threads)
    return _ChosenLayout(choice, TimedLayout(layout, pace.step_s), found.num_gpus, "")


def _choose_layout(job: TrainingJob, trainer: Trainer, folder: Path, *, num_rows: int, num_steps: int) -> _ChosenLayout:
    training, cores = job.spec.training, num_cores()
    alone = [PaceChoice(num_threads=each.num_threads) for each in single_layouts(cores)]
    found = _paces(job, trainer, folder / "alone", world_size=1, choices=alone)
    tried = [(each, TimedLayout(WorkerLayout(1, each.num_threads), pace.step_s)) for each, pace in _timed(found)]
    layout = spread_layout(num_cores=cores, num_gpus=found.num_gpus, batch_size=training.batch_size, num_rows=num_rows)
    if layout is not None and is_worth_spreading([each for _, each in tried], num_steps=num_steps):
        tried += _spread(job, trainer, folder / "spread", layout)
    best, text = choose_layout([each for _, each in tried], num_steps=num_steps)
    return _ChosenLayout(*tried[best], found.num_gpus, text)


def _choose_compiled(
    job: TrainingJob, trainer: Trainer, folder: Path, layout: _ChosenLayout, *, num_steps: int
) -> tuple[Compiled, str]:
    """Whether to compile in this layout, and why."""
    world_size, step_s = layout.timed.layout.world_size, layout.timed.step_s
    if not is_worth_compiling(step_s, num_steps=num_steps):
        return "off", f"Not compiled: that pays in trainings of {WORTH_TRYING_S:.0f} s and more"
    ways = compiled_ways(num_gpus=layout.num_gpus, world_size=world_size, step_s=step_s)
    choices = [layout.choice, *(layout.choice.model_copy(update={"compile": way}) for way in ways)]
    try:
        found = _paces(job, trainer, folder / "compiled", world_size=world_size, choices=choices, more_s=_COMPILING_S)
    except RatchetError as error:
        return "off", f"Not compiled: a trial of it ended. {error}"
    timed = [TimedCompile(choice.compile, pace.step_s, pace.start_s) for choice, pace in _timed(found)]
    refused = [each.refusal for each in found.paces if each.refusal]
    if len(timed) < 2 or timed[0].how != "off":
        return "off", f"Not compiled: {refused[0]}"
    compiled, text = choose_compiled(timed, num_steps=num_steps)
    return compiled, f"{text[0].upper()}{text[1:]}"


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
    return [(each, TimedLayout(layout, pace.step_s, each.communication.text)) for each, pace in _timed(found)]


class _Timed(NamedTuple):
    step_s: float
    start_s: float


def _timed(paces: Paces) -> list[tuple[PaceChoice, _Timed]]:
    """Of those that could be trained so."""
    return [(each.choice, _Timed(each.step_s, each.start_s)) for each in paces.paces if each.step_s is not None]


def _paces(
    job: TrainingJob,
    trainer: Trainer,
    folder: Path,
    *,
    world_size: int,
    choices: Sequence[PaceChoice],
    more_s: float = 0.0,
) -> Paces:
    folder.mkdir(exist_ok=True)
    trial = PaceJob(
        training=_trial_of(job, folder, world_size=world_size),
        choices=tuple(choices),
        choice_s=_CHOICE_S,
        paces_path=folder / "paces.json",
    )
    return run_paces(trial, trainer, folder, timeout_s=min(_SETTING_UP_S + more_s, job.spec.training.timeout_s))


def _trial_of(job: TrainingJob, folder: Path, *, world_size: int) -> TrainingJob:
    """The same with some of its rows, and with nothing in the place of what needs all of them."""
    rows = folder / "train.parquet"
    pq.write_table(ds.dataset(job.train_path).head(_ROWS_MAX), rows)
    asked = {"auto": False, "world_size": world_size, "class_weights": "none", "calibrate": "none", "compile": "off"}
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
