"""Train a challenger, from what fits of the champion's weights or from scratch, on all rows of a dataset version."""

import json
import logging
import platform
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from components.finetune.checkpoints import kept_checkpoints
from ratchet import __version__
from ratchet.actions.labels.replay import leave_out_old, old_version_of
from ratchet.actions.labels.rows import SplitRows, describe_left_out, fetch_split
from ratchet.core.digest import digest_of
from ratchet.core.errors import DataRejected, PolicyError, RatchetError
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.replay import Replay
from ratchet.core.models.ledger import ModelRef, champion_of
from ratchet.core.ports import DatasetStore, Ledger, ObjectStore
from ratchet.stores.finished import FinishedSteps
from ratchet.tasks.code_collect import collect_task_code
from ratchet.tasks.identity import model_digest, read_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import EpochMetrics, StartRecord, TrainingJob
from ratchet.training.learners import Learner

log = logging.getLogger(__name__)
LINEAGE_FILE, TRAINING_ROWS = "lineage.json", "training_rows"
STEP = "finetune"


class Trained(BaseModel):
    """What a training came to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    """Of the model."""
    last_epoch: EpochMetrics


def finetune_step(
    spec: TaskSpec,
    manifest: Manifest,
    *,
    datasets: DatasetStore,
    objects: ObjectStore,
    ledger: Ledger,
    learner: Learner,
    model_path: Path,
    log_path: Path,
    finished: FinishedSteps,
) -> tuple[str, EpochMetrics]:
    """Leave the trained model in `model_path`; gives its digest and the last epoch's numbers.

    Safe to repeat: it changes nothing but what it keeps in `finished`. A training that has ended, of this run or of one
    that failed later, is taken over by the model's digest when all its inputs are the same.
    """
    base = champion_of(ledger.list_entries(spec.name)) if spec.training.start == "champion" else None
    code = collect_task_code(spec)
    inputs = _inputs_of(spec, manifest, base, code_digest=code.digest)
    before, why_all = old_version_of(spec, manifest, base, datasets)
    if before is not None:
        inputs["champion's dataset"] = digest_of(before.model_dump(mode="json"))
    trained = _take_over(finished, inputs, model_path)
    if trained is None:
        trained = _train(
            spec,
            manifest,
            base,
            before=before,
            why_all=why_all,
            code_digest=code.digest,
            datasets=datasets,
            objects=objects,
            learner=learner,
            model_path=model_path,
            log_path=log_path,
            finished=finished,
            inputs=inputs,
        )
        finished.put_model(STEP, inputs, trained, path=model_path, digest=trained.digest)
    else:
        log_path.write_text("no training: the model of an earlier one is taken over\n")
    return trained.digest, trained.last_epoch


def _inputs_of(spec: TaskSpec, manifest: Manifest, base: ModelRef | None, *, code_digest: str) -> dict[str, str]:
    """All that decides a training."""
    return {
        "dataset version": manifest.version,
        "dataset content": digest_of(manifest.model_dump(mode="json")),
        "task file": digest_of(spec.model_dump(mode="json")),
        "code": code_digest,
        "base model": base.digest if base else "",
        "ratchet": __version__,
        **_library_of(spec),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _take_over(finished: FinishedSteps, inputs: Mapping[str, str], model_path: Path) -> Trained | None:
    found = finished.find(STEP, inputs, Trained)
    if found is None:
        return None
    of_run, trained = found
    if not finished.fetch_model(model_path, digest=trained.digest):
        return None
    finished.note_taken(STEP, of_run, f"model {trained.digest[:12]}, trained on {inputs['dataset version']}")
    return trained


def _train(
    spec: TaskSpec,
    manifest: Manifest,
    base: ModelRef | None,
    *,
    before: Manifest | None,
    why_all: str,
    code_digest: str,
    datasets: DatasetStore,
    objects: ObjectStore,
    learner: Learner,
    model_path: Path,
    log_path: Path,
    finished: FinishedSteps,
    inputs: Mapping[str, str],
) -> Trained:
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        job = TrainingJob(
            spec=spec,
            train_path=scratch / "train.parquet",
            val_path=scratch / "val.parquet",
            code_digest=code_digest,
            base_model_path=_fetch_base(base, objects, scratch / "base"),
            base_name=_name_of(base, spec),
            checkpoint_dir=scratch / "checkpoints",
            model_path=scratch / "model",
            start_path=scratch / "start.json",
            history_path=scratch / "history.jsonl",
            failure_path=scratch / "failure.txt",
        )
        rows = fetch_split(datasets, manifest, "train", job.train_path, spec=spec)
        fetch_split(datasets, manifest, "val", job.val_path, spec=spec)
        left_out = describe_left_out(rows.left_out)
        replay = _replay(spec, manifest, job, rows, datasets=datasets, before=before, why_all=why_all)
        if replay is not None:
            finished.note("replay", replay.text())
        num_rows = rows.num_rows if replay is None else replay.num_trained
        if num_rows < spec.training.world_size:
            raise DataRejected(
                f"{manifest.version} has {num_rows} training rows. Push more labels for {spec.name!r}. {left_out}"
            )
        log.info("training on %d rows of %s from %s", num_rows, manifest.version, job.base_name)
        if left_out:
            log.warning("%s", left_out)
        finished.fetch_checkpoint(inputs, job.checkpoint_dir)
        with kept_checkpoints(finished, inputs, job.checkpoint_dir):
            _run_job(job, learner, scratch / "job.json", log_path)
        shutil.rmtree(model_path, ignore_errors=True)  # of an attempt that was cut off: its code would stay beside
        shutil.copytree(job.model_path, model_path)
        start = StartRecord.model_validate_json(job.start_path.read_bytes())
        history = [EpochMetrics.model_validate_json(line) for line in job.history_path.read_text().splitlines()]
    lineage = _lineage_of(spec, manifest, base, start) | ({TRAINING_ROWS: replay.text()} if replay else {})
    (model_path / LINEAGE_FILE).write_text(json.dumps(lineage, indent=2) + "\n")
    return Trained(digest=model_digest(model_path), last_epoch=history[-1])


def _replay(
    spec: TaskSpec,
    manifest: Manifest,
    job: TrainingJob,
    rows: SplitRows,
    *,
    datasets: DatasetStore,
    before: Manifest | None,
    why_all: str,
) -> Replay | None:
    """What of the rows is trained; None where the task file does not choose among them."""
    share = spec.training.replay_share
    if share == "all":
        return None
    if before is not None and (of_base := _implementation_of(job.base_model_path)) != spec.implementation:
        before, why_all = None, f"the champion is a {of_base}, of which a {spec.implementation} goes on from nothing"
    if before is None:
        return Replay("", rows.num_rows, 0, 0, why_all)
    try:
        return leave_out_old(datasets, manifest, before, job.train_path, rows.num_by_shard, share=share, spec=spec)
    except RatchetError as error:
        return Replay("", rows.num_rows, 0, 0, f"what the champion learned from cannot be read: {error}")


def _implementation_of(path: Path | None) -> str:
    """Of the model in a folder."""
    if path is None:
        return "model that is not there"
    return TaskSpec.model_validate_json(read_model(path).task_json).implementation


def _run_job(job: TrainingJob, learner: Learner, job_path: Path, log_path: Path) -> None:
    try:
        learner.train(job, job_path=job_path, log_path=log_path)
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


def _fetch_base(base: ModelRef | None, objects: ObjectStore, path: Path) -> Path | None:
    if base is None:
        return None
    objects.fetch_directory(base.uri, path)
    try:
        read_model(path, expected_digest=base.digest)
    except DataRejected as error:
        raise DataRejected(f"{base.uri} is not the model that the ledger names: {error}") from None
    return path


def _lineage_of(spec: TaskSpec, manifest: Manifest, base: ModelRef | None, start: StartRecord) -> dict[str, str]:
    """What a retraining needs to give the same bits, beside the code."""
    return {
        "dataset_version": manifest.version,
        "base_model_version": base.version if base else "",
        "base_model_digest": base.digest if base else "",
        "start": spec.training.start if base else "scratch",
        "start_weights": start.text(),
        "implementation": spec.implementation,
        **_library_of(spec),
        "python": platform.python_version(),
        "device": "cpu",
        "machine": platform.machine(),
        "world_size": str(spec.training.world_size),
        "num_threads": str(spec.training.num_threads),
        "seed": str(spec.training.seed),
    }


def _library_of(spec: TaskSpec) -> dict[str, str]:
    """Name and version of what does the sums."""
    name = "lightgbm" if spec.model.learner == "trees" else "torch"
    try:
        return {name: version(name)}
    except PackageNotFoundError:
        raise PolicyError(
            f"{name} is not installed here, and {spec.name!r} is of kind {spec.model.kind}. Install the extra "
            f"`{'trees' if name == 'lightgbm' else 'train'}` of Ratchet."
        ) from None


def _name_of(base: ModelRef | None, spec: TaskSpec) -> str:
    if base is None:
        return "scratch (there is no champion)" if spec.training.start == "champion" else "scratch (training.start)"
    return f"champion version {base.version}"
