"""A search: trainings of one job with other numbers, one after the other; the best one is as if it had been the job.

Each trial is a training from its begin to its end, or to the rung where it is given up: so the best one is the model,
and a retraining with its numbers gives the same bits. The journal is kept after each trial. A search that was killed
goes on with the trials that it has; where the files of the best one are gone, that one is trained once more.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from ratchet.core.errors import DataRejected, PolicyError
from ratchet.core.models.search import (
    SEARCH_FILE,
    SearchJournal,
    SearchSpec,
    SearchTrial,
    Value,
    failures_text,
    is_over,
    limits_of,
    values_text,
)
from ratchet.core.models.training_history import EpochMetrics, history_of
from ratchet.core.ports import Draws
from ratchet.tasks.training_spec import TrainingSpec
from ratchet.training.job import TrainingJob
from ratchet.training.learners import Learner

log = logging.getLogger(__name__)
_ATTEMPTS = 20
"""Draws for one trial, before the space is taken to have nothing that was not tried."""


@dataclass(frozen=True)
class Searching:
    """What a search stands on."""

    learner: Learner
    draws: Draws
    begun: SearchJournal
    """Of an earlier attempt."""
    keep: Callable[[SearchJournal], None]
    """Called after each trial."""


def search(job: TrainingJob, searching: Searching, *, log_path: Path) -> SearchJournal:
    """Leave the best trial's files where the job says, and the journal beside its model.

    DataRejected where there is nothing to compare trials by, or where every one failed.
    """
    asked = job.spec.training.search
    assert asked is not None, "a task that asks for a search"
    if pq.read_metadata(job.val_path).num_rows == 0:
        raise DataRejected(
            f"training.search of {job.spec.name!r} compares trials by their loss on the validation rows, and the "
            "dataset has none. Push more labels, or leave `search` out."
        )
    journal = searching.begun
    if journal.trials:
        log.info("%d trials of an earlier attempt are taken over", len(journal.trials))
    while not is_over(asked, journal):
        values = _next_values(asked, journal, searching.draws, seed=job.spec.training.seed)
        if values is None:
            log.info("the space has nothing more that was not tried")
            break
        trial = _try(job, values, journal, searching.learner, log_path)
        log.info("trial %s", trial.text())
        journal = SearchJournal(trials=(*journal.trials, trial))
        searching.keep(journal)
        _remove_losers(job, journal)
    _take_best(job, journal, searching.learner, log_path)
    return journal


def _next_values(asked: SearchSpec, journal: SearchJournal, draws: Draws, *, seed: int) -> Mapping[str, Value] | None:
    """None when none are found that were not tried: the same numbers give the same bits."""
    tried = [dict(each.values) for each in journal.trials]
    for attempt in range(_ATTEMPTS):
        values = draws.draw(asked, journal, seed=seed, attempt=attempt)
        if dict(values) not in tried:
            return values
    return None


def _try(
    job: TrainingJob, values: Mapping[str, Value], journal: SearchJournal, learner: Learner, log_path: Path
) -> SearchTrial:
    """A trial that the data refuses, as one whose loss is not finite, has failed. All else ends the search."""
    number = len(journal.trials) + 1
    own = _job_of(job, values, number, limits_of(journal, job.spec.training.num_epochs))
    log.info("trial %d: %s", number, values_text(values))
    began, reason = time.monotonic(), ""
    try:
        _train(own, learner, log_path)
    except DataRejected as error:
        reason = str(error)
    losses = tuple(each.val_loss for each in _history_of(own) if each.val_loss is not None)
    is_whole = own.model_path.is_dir()
    if not reason and not is_whole and len(losses) not in own.give_up_above:
        raise PolicyError(
            f"Trial {number} of {job.spec.name!r} ended without a model and without an error. Try the task with "
            f"`ratchet tasks check {job.spec.name}`."
        )
    return SearchTrial(
        number=number,
        values=values,
        state="failed" if reason else "complete" if is_whole else "pruned",
        val_losses=losses,
        seconds=time.monotonic() - began,
        reason=reason,
    )


def _train(own: TrainingJob, learner: Learner, log_path: Path) -> None:
    own.model_path.parent.mkdir(parents=True, exist_ok=True)
    try:
        learner.train(own, job_path=own.model_path.with_name("job.json"), log_path=log_path)
    finally:
        if log_path.exists():
            log.info("%s", log_path.read_text(errors="replace").strip())


def _history_of(job: TrainingJob) -> tuple[EpochMetrics, ...]:
    return history_of(job.history_path.read_bytes()) if job.history_path.exists() else ()


def _folder_of(job: TrainingJob, number: int) -> Path:
    return job.model_path.parent / f"trial-{number:03d}"


def _job_of(job: TrainingJob, values: Mapping[str, Value], number: int, limits: Mapping[int, float]) -> TrainingJob:
    """The same rows and the same start; a task without a search, and a folder of its own."""
    whole = {**job.spec.training.model_dump(mode="json"), **values, "search": None}
    folder = _folder_of(job, number)
    return job.model_copy(
        update={
            "spec": job.spec.model_copy(update={"training": TrainingSpec.model_validate(whole)}),
            "checkpoint_dir": folder / "checkpoints",
            "give_up_above": dict(limits),
            **{name: folder / path.name for name, path in _files_of(job).items()},
            "failure_path": folder / job.failure_path.name,
        }
    )


def _files_of(job: TrainingJob) -> dict[str, Path]:
    """What a training leaves, by field of its job."""
    names = ("model_path", "start_path", "history_path", "environment_path")
    return {name: path for name in names if (path := getattr(job, name)) is not None}


def _remove_losers(job: TrainingJob, journal: SearchJournal) -> None:
    """A search holds two models at most: the best one and the newest."""
    best = journal.best
    for each in journal.trials:
        if best is None or each.number != best.number:
            shutil.rmtree(_folder_of(job, each.number), ignore_errors=True)


def _take_best(job: TrainingJob, journal: SearchJournal, learner: Learner, log_path: Path) -> None:
    best = journal.best
    if best is None:
        raise DataRejected(
            f"training.search of {job.spec.name!r}: none of {len(journal.trials)} trials came to its end: "
            f"{failures_text(journal)}. Search smaller learning rates, or leave `search` out."
        )
    own = _job_of(job, best.values, best.number, {})
    if not own.model_path.is_dir():
        log.info("trial %d is the best, and its files are gone: it is trained once more", best.number)
        _train(own, learner, log_path)
    for name, path in _files_of(job).items():
        found: Path = getattr(own, name)
        if found.exists():
            shutil.rmtree(path, ignore_errors=True)
            found.replace(path)
    (job.model_path / SEARCH_FILE).write_text(journal.model_dump_json(indent=1) + "\n")
