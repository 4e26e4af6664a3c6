"""Train a challenger, from what fits of the champion's weights or from scratch, on all rows of a dataset version."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from components.finetune.checkpoints import kept_checkpoints
from components.finetune.progress import shown_progress
from ratchet import __version__
from ratchet.actions.labels.left_out import Pinned
from ratchet.actions.labels.replay import old_version_of
from ratchet.actions.models.searching import Searching, search
from ratchet.actions.models.training import (
    LINEAGE_FILE,
    TRAINING_ROWS,
    TrainingInputs,
    prepare_job,
    run_job,
    take_model,
)
from ratchet.core.digest import digest_of
from ratchet.core.errors import PolicyError
from ratchet.core.labels.dataset import Manifest, training_digest_of
from ratchet.core.models.environment import ENVIRONMENT_FILE, environment_of
from ratchet.core.models.ledger import ModelRef, champion_of
from ratchet.core.models.search import SEARCH_FILE, SearchJournal, values_text
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.ports import DatasetStore, Draws, Ledger, ObjectStore
from ratchet.stores.finished import FinishedSteps
from ratchet.tasks.code_collect import collect_task_code
from ratchet.tasks.identity import model_digest
from ratchet.tasks.spec import TaskSpec
from ratchet.training.choosing import TrainingChoice
from ratchet.training.job import CHOICE, StartRecord, TrainingJob
from ratchet.training.learners import Learner

STEP = "finetune"
SEARCH = "search"
"""Step, as far as results go: the trials so far."""


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
    pinned_ids: frozenset[str] = frozenset(),
    draws: Draws | None = None,
) -> tuple[str, EpochMetrics]:
    """Leave the trained model in `model_path`; gives its digest and the last epoch's numbers.

    pinned_ids: examples that the gate asks every model about, so that no training may see them.
    draws: proposes numbers where the task file asks for a search.
    Safe to repeat: it changes nothing but what it keeps in `finished`. A training that has ended, of this run or of one
    that failed later, is taken over by the model's digest when all its inputs are the same.
    """
    base = champion_of(ledger.list_entries(spec.name)) if spec.training.start == "champion" else None
    code = collect_task_code(spec)
    inputs = _inputs_of(spec, manifest, base, code_digest=code.digest)
    before, why_all = old_version_of(spec, manifest, base, datasets)
    if pinned_ids:
        inputs["pinned cases"] = digest_of(sorted(pinned_ids))
    if before is not None:
        inputs["champion's dataset"] = digest_of(before.model_dump(mode="json"))
    trained = _take_over(finished, inputs, model_path)
    if trained is None:
        trained = _train(
            TrainingInputs(
                spec,
                manifest,
                base,
                code_digest=code.digest,
                before=before,
                why_all=why_all,
                pinned=Pinned(ids=pinned_ids),
            ),
            datasets=datasets,
            objects=objects,
            learner=learner,
            model_path=model_path,
            log_path=log_path,
            finished=finished,
            inputs=inputs,
            draws=draws,
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
    training: TrainingInputs,
    *,
    datasets: DatasetStore,
    objects: ObjectStore,
    learner: Learner,
    model_path: Path,
    log_path: Path,
    finished: FinishedSteps,
    inputs: Mapping[str, str],
    draws: Draws | None,
) -> Trained:
    with learner.scratch() as scratch:
        job, replay = prepare_job(training, Path(scratch), datasets=datasets, objects=objects)
        if replay is not None:
            finished.note("replay", replay.text())
        finished.fetch_checkpoint(inputs, job.checkpoint_dir)
        with (
            kept_checkpoints(finished, inputs, job.checkpoint_dir),
            shown_progress(finished.progress, job.progress_path),
        ):
            if training.spec.training.search is None:
                run_job(job, learner, log_path=log_path)
            else:
                assert draws is not None, "who starts the step wires them"
                _search(job, learner, draws, finished=finished, inputs=inputs, log_path=log_path)
        start, last_epoch = take_model(job, model_path)
    lineage = _lineage_of(training, start, model_path) | ({TRAINING_ROWS: replay.text()} if replay else {})
    lineage |= _searched(model_path)
    (model_path / LINEAGE_FILE).write_text(json.dumps(lineage, indent=2) + "\n")
    return Trained(digest=model_digest(model_path), last_epoch=last_epoch)


def _search(
    job: TrainingJob,
    learner: Learner,
    draws: Draws,
    *,
    finished: FinishedSteps,
    inputs: Mapping[str, str],
    log_path: Path,
) -> None:
    """As `run_job`, for the best of several trainings; the trials of a step that was killed are taken over."""
    begun, found = SearchJournal(), finished.find(SEARCH, inputs, SearchJournal)
    if found is not None:
        of_run, begun = found
        finished.note_taken(SEARCH, of_run, f"{len(begun.trials)} trials")
    searching = Searching(learner, draws, begun, keep=lambda journal: finished.put(SEARCH, inputs, journal))
    search(job, searching, log_path=log_path)


def _searched(model_path: Path) -> dict[str, str]:
    """What the registry shows of a search; nothing where there was none."""
    path = model_path / SEARCH_FILE
    if not path.exists():
        return {}
    journal = SearchJournal.model_validate_json(path.read_bytes())
    assert journal.best is not None, "a search without a best trial has failed"
    best = journal.best
    return {
        "search": f"trial {best.number} of {len(journal.trials)}: {values_text(best.values)}",
        "search_trials": journal.text(),
    }


def _lineage_of(training: TrainingInputs, start: StartRecord, model_path: Path) -> dict[str, str]:
    """What a retraining needs to give the same bits, beside the code."""
    spec, manifest, base = training.spec, training.manifest, training.base
    return {
        "dataset_version": manifest.version,
        "dataset_digest": training_digest_of(manifest, training.before),
        "dataset_erased": str(manifest.erased),
        "base_model_version": base.version if base else "",
        "base_model_digest": base.digest if base else "",
        "base_dataset_version": base.dataset_version if base else "",
        "start": spec.training.start if base else "scratch",
        "start_weights": start.text(),
        "implementation": spec.implementation,
        **_library_of(spec),
        "python": platform.python_version(),
        "device": _device_of(model_path),
        "machine": platform.machine(),
        **_layout_of(spec, model_path),
        "seed": str(spec.training.seed),
    }


def _layout_of(spec: TaskSpec, model_path: Path) -> dict[str, str]:
    """Workers and threads; where `training: auto` chose them, why."""
    path = model_path / CHOICE
    if not path.exists():
        return {"world_size": str(spec.training.world_size), "num_threads": str(spec.training.num_threads)}
    choice = TrainingChoice.model_validate_json(path.read_bytes())
    return {
        "world_size": str(choice.world_size),
        "num_threads": str(choice.num_threads),
        "training_choice": choice.text,
    }


def _device_of(model_path: Path) -> str:
    """As the worker wrote it down; "" where it did not."""
    path = model_path / ENVIRONMENT_FILE
    environment = environment_of(path.read_bytes()) if path.exists() else None
    return environment.device if environment is not None else ""


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
