"""One training, from a dataset version to a model's folder: the step `finetune` does it, and whoever repeats one."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from ratchet.actions.labels.left_out import LEFT_OUT_FILE, NOT_PINNED, LeftOutRows, Pinned, leave_out_pinned
from ratchet.actions.labels.replay import leave_out_old
from ratchet.actions.labels.rows import SplitRows, describe_left_out, fetch_split
from ratchet.core.errors import DataRejected, PolicyError, RatchetError
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.replay import Replay
from ratchet.core.models.environment import ENVIRONMENT_FILE
from ratchet.core.models.ledger import ModelRef
from ratchet.core.models.training_history import HISTORY_FILE, EpochMetrics
from ratchet.core.ports import DatasetStore, ObjectStore
from ratchet.tasks.identity import read_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import CHOICE, StartRecord, TrainingJob
from ratchet.training.learners import Learner

log = logging.getLogger(__name__)
LINEAGE_FILE = "lineage.json"
"""In a model's folder, beside its digest: what a repetition of the training has to begin with."""
TRAINING_ROWS = "training_rows"
"""Field of it: which rows were trained, where the task file chooses among them."""


@dataclass(frozen=True)
class TrainingInputs:
    """What decides a training, beside the machine."""

    spec: TaskSpec
    manifest: Manifest
    base: ModelRef | None
    """Whose weights are the start; None = a fresh model."""
    code_digest: str
    code_path: Path | None = None
    """As of `TrainingJob`."""
    before: Manifest | None = None
    why_all: str = ""
    """Both as of `old_version_of`: of which rows a share is trained, or why all are."""
    pinned: Pinned = NOT_PINNED
    """Rows that the training must not see."""

    @property
    def base_name(self) -> str:
        if self.base is not None:
            return f"champion version {self.base.version}"
        return (
            "scratch (there is no champion)" if self.spec.training.start == "champion" else "scratch (training.start)"
        )


def prepare_job(
    inputs: TrainingInputs, scratch: Path, *, datasets: DatasetStore, objects: ObjectStore
) -> tuple[TrainingJob, Replay | None]:
    """Fetch the rows and the base model into a scratch folder; tells what of the rows is trained.

    DataRejected when there are too few rows, or when the base model's files are not its own.
    """
    spec, manifest = inputs.spec, inputs.manifest
    job = TrainingJob(
        spec=spec,
        train_path=scratch / "train.parquet",
        val_path=scratch / "val.parquet",
        code_digest=inputs.code_digest,
        code_path=inputs.code_path,
        base_model_path=_fetch_base(inputs.base, objects, scratch / "base"),
        base_name=inputs.base_name,
        checkpoint_dir=scratch / "checkpoints",
        model_path=scratch / "model",
        start_path=scratch / "start.json",
        history_path=scratch / "history.jsonl",
        environment_path=scratch / ENVIRONMENT_FILE,
        progress_path=scratch / "progress.json",
        failure_path=scratch / "failure.txt",
    )
    rows = _fetch_rows(inputs, job, datasets)
    left_out = describe_left_out(rows.left_out)
    replay = _replay(inputs, job, rows, datasets)
    num_rows = rows.num_rows if replay is None else replay.num_trained
    if num_rows < spec.training.world_size:
        raise DataRejected(
            f"{manifest.version} has {num_rows} training rows. Push more labels for {spec.name!r}. {left_out}"
        )
    log.info("training on %d rows of %s from %s", num_rows, manifest.version, job.base_name)
    if left_out:
        log.warning("%s", left_out)
    return job, replay


def _fetch_rows(inputs: TrainingInputs, job: TrainingJob, datasets: DatasetStore) -> SplitRows:
    """The rows for training and those for validation, without pinned ones; which these were is noted beside the job."""
    spec, manifest, pinned = inputs.spec, inputs.manifest, inputs.pinned
    rows = fetch_split(datasets, manifest, "train", job.train_path, spec=spec)
    val_rows = fetch_split(datasets, manifest, "val", job.val_path, spec=spec)
    rows, of_train = leave_out_pinned(job.train_path, rows, "train", pinned)
    _, of_val = leave_out_pinned(job.val_path, val_rows, "val", pinned)
    if of_train or of_val:
        left_out = LeftOutRows(rows={"train": of_train, "val": of_val})
        (job.model_path.parent / LEFT_OUT_FILE).write_text(left_out.model_dump_json() + "\n")
        log.info("%d rows of pinned cases are left out", left_out.num_rows)
    return rows


def _replay(inputs: TrainingInputs, job: TrainingJob, rows: SplitRows, datasets: DatasetStore) -> Replay | None:
    """What of the rows is trained; None where the task file does not choose among them."""
    spec, before, why_all = inputs.spec, inputs.before, inputs.why_all
    share = spec.training.replay_share
    if share == "all":
        return None
    if before is not None and (of_base := _implementation_of(job.base_model_path)) != spec.implementation:
        before, why_all = None, f"the champion is a {of_base}, of which a {spec.implementation} goes on from nothing"
    if before is None:
        return Replay("", rows.num_rows, 0, 0, why_all)
    try:
        return leave_out_old(
            datasets, inputs.manifest, before, job.train_path, rows.num_by_shard, share=share, spec=spec
        )
    except RatchetError as error:
        return Replay("", rows.num_rows, 0, 0, f"what the champion learned from cannot be read: {error}")


def _implementation_of(path: Path | None) -> str:
    """Of the model in a folder."""
    if path is None:
        return "model that is not there"
    return TaskSpec.model_validate_json(read_model(path).task_json).implementation


def run_job(job: TrainingJob, learner: Learner, *, log_path: Path) -> None:
    """Train; the model, the start record, the history and the environment are then where the job says."""
    try:
        learner.train(job, job_path=job.model_path.parent / "job.json", log_path=log_path)
    except RatchetError as error:
        raise type(error)(f"The training of {job.spec.name!r} stopped: {error}") from None
    finally:
        if log_path.exists():
            log.info("%s", log_path.read_text(errors="replace").strip())
    if not job.model_path.is_dir():
        raise PolicyError(
            f"The training of {job.spec.name!r} ended without a model and without an error. Look for an os._exit in "
            f"{job.spec.implementation}, and try it with `ratchet tasks check {job.spec.name}`."
        )


def take_model(job: TrainingJob, model_path: Path) -> tuple[StartRecord, EpochMetrics]:
    """Copy the trained model out of the scratch folder, with the environment and the history beside it; gives what the
    training began with and its last epoch."""
    shutil.rmtree(model_path, ignore_errors=True)  # of an attempt that was cut off: its code would stay beside
    shutil.copytree(job.model_path, model_path)
    if job.environment_path is not None and job.environment_path.exists():
        shutil.copyfile(job.environment_path, model_path / ENVIRONMENT_FILE)
    shutil.copyfile(job.history_path, model_path / HISTORY_FILE)
    for name in (LEFT_OUT_FILE, CHOICE):
        if (job.model_path.parent / name).exists():
            shutil.copyfile(job.model_path.parent / name, model_path / name)
    start = StartRecord.model_validate_json(job.start_path.read_bytes())
    return start, EpochMetrics.model_validate_json(job.history_path.read_text().splitlines()[-1])


def _fetch_base(base: ModelRef | None, objects: ObjectStore, path: Path) -> Path | None:
    if base is None:
        return None
    objects.fetch_directory(base.uri, path)
    try:
        read_model(path, expected_digest=base.digest)
    except DataRejected as error:
        raise DataRejected(f"{base.uri} is not the model that the ledger names: {error}") from None
    return path
