"""`python -m ratchet.training.trees JOB`: LightGBM's trees, from the files of a job to a model's folder.

One process, a fixed number of threads, one order of sums: the same rows give the same bits. With validation rows,
boosting ends when they have gained nothing for a while, and the best number of trees is kept.

Each training starts fresh, unless the task file says `training: {start: champion}`. Then the champion's trees are kept
and new ones are added, so a model grows with every run. That pays where a training takes hours; trees are usually
trained anew in seconds, on all rows of the dataset, and do not depend on what came before.
"""

import argparse
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ratchet.core.errors import DataRejected, PolicyError
from ratchet.core.labels.answers import answers_of
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.processes import die_with_parent
from ratchet.tasks.bound import fit_state
from ratchet.tasks.identity import TREES, read_model
from ratchet.tasks.loading import load_task_from
from ratchet.tasks.model_files import read_state, save_trees
from ratchet.tasks.spec import TaskSpec
from ratchet.training.calibrating import check_calibrates, fitted
from ratchet.training.code import code_of
from ratchet.training.environment import record_environment
from ratchet.training.failure import record_failure
from ratchet.training.job import StartRecord, TrainingJob
from ratchet.training.progress import LiveProgress, peak_memory_mb
from ratchet.training.split_rows import labelled, labels_of, read_split
from ratchet.training.takeover import why_no_weights
from ratchet.training.weighting import log_weights, weights_by_class

if TYPE_CHECKING:
    import lightgbm

log = logging.getLogger(__name__)
_PATIENCE = 50
"""Trees that may gain nothing on the validation rows before boosting ends."""
_VAL_ROWS_MIN = 50
"""Fewer validation rows say nothing about when to end."""
_LINES = 10
"""Of the history."""
_SPLIT = re.compile(r"^num_leaves=(?!1$)", re.MULTILINE)
"""In LightGBM's text form: a tree with more than one leaf."""
_RF_SHARE = 0.632
"""Of the rows that a tree of a forest sees: what a bootstrap sample has of different ones."""


@dataclass(frozen=True)
class LabelledRows:
    """Inputs and labels (`labels_of`) of N rows."""

    inputs: pa.Table
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Grown:
    """One booster, or one for each tag."""

    boosters: list["lightgbm.Booster"]
    history: tuple[EpochMetrics, ...]


def train(job: TrainingJob) -> None:
    """Read, learn, write: what `loop.train` is for networks."""
    spec, code = job.spec, code_of(job)
    record_environment(job, code)
    kind = load_task_from(spec, code)
    inputs, labels = read_split(job.train_path, spec)
    base, start = _base_of(job, kind)
    before = read_state(job.base_model_path) if base and job.base_model_path else None
    state = fit_state(kind, spec, labelled(inputs, labels, spec), before=before)
    assert state is not None, "this kind has a state"
    log.info("start: %s", start.text())
    job.start_path.write_text(start.model_dump_json())
    val_inputs, val_labels = read_split(job.val_path, spec)
    rows, val_rows = (
        LabelledRows(inputs, labels_of(labels, spec)),
        LabelledRows(val_inputs, labels_of(val_labels, spec)),
    )
    check_calibrates(len(val_rows), spec)
    grown = grow(kind, state, rows, val_rows, base=base, live=LiveProgress(job.progress_path))
    job.history_path.write_text("".join(f"{each.model_dump_json()}\n" for each in grown.history))
    text = kind.text_of(grown.boosters)
    loaded = kind.load_model(text, state)
    _prove(loaded, kind, state, rows, spec)
    temperature = None
    if spec.training.calibrate != "none":
        temperature = fitted(kind.decode(loaded, kind.encode(val_rows.inputs, state)), val_rows.labels, spec)
    save_trees(job.model_path, spec=spec, text=text, code=code, state=state, temperature=temperature)


def grow(
    kind: Any,
    state: dict[str, Any],
    rows: LabelledRows,
    val_rows: LabelledRows | None,
    *,
    base: Sequence["lightgbm.Booster"] = (),
    num_trees: int | None = None,
    live: LiveProgress | None = None,
) -> Grown:
    """kind: an instance of `kinds.trees.Trees`. base: whose trees are kept. num_trees: instead of the task file's.
    live: told of each tree."""
    spec = kind.spec
    if val_rows is not None and len(val_rows) < _VAL_ROWS_MIN:
        val_rows = None

    by_class_K = weights_by_class(rows.labels, spec)
    if by_class_K is not None:
        log_weights(by_class_K, spec)

    def sets_of(labelled_rows: LabelledRows) -> list[dict[str, Any]]:
        """What `lightgbm.Dataset` takes, for each booster."""
        encoded, labels = kind.encode(labelled_rows.inputs, state), labelled_rows.labels
        weights = None if by_class_K is None else by_class_K[labels]
        columns = labels.T if spec.output.type == "tags" else [labels]
        return [{"data": encoded, "label": np.ascontiguousarray(each), "weight": weights} for each in columns]

    train_sets = sets_of(rows)
    val_sets = [None] * len(train_sets) if val_rows is None else sets_of(val_rows)
    boosters, histories = [], []
    for column, (train_set, val_set) in enumerate(zip(train_sets, val_sets, strict=True)):
        booster, losses = _grow_one(
            kind,
            train_set,
            val_set,
            base=base[column] if base else None,
            num_trees=num_trees or kind.options.num_trees,
            callbacks=[_telling(live, column=column, num_columns=len(train_sets))] if live else [],
        )
        boosters.append(booster)
        histories.append(losses)
    if not _SPLIT.search(kind.text_of(boosters)):
        raise DataRejected(
            f"LightGBM found nothing to learn in {len(rows)} training rows: no tree has two leaves of "
            f"{kind.options.min_rows} rows that differ. Push more labels, or set model.min_rows lower."
        )
    return Grown(boosters, _history_of(histories))


def _grow_one(
    kind: Any,
    rows: dict[str, Any],
    val_rows: dict[str, Any] | None,
    *,
    base: Any,
    num_trees: int,
    callbacks: Sequence[Callable[..., None]],
) -> tuple["lightgbm.Booster", dict[str, list[float]]]:
    import lightgbm

    columns = list(range(kind.num_categories))
    parameters = parameters_of(kind.spec, kind.options)
    train_set = lightgbm.Dataset(**rows, categorical_feature=columns, params=parameters, free_raw_data=False)
    sets, names = [train_set], ["train"]
    if val_rows is not None:
        sets.append(lightgbm.Dataset(**val_rows, categorical_feature=columns, reference=train_set, params=parameters))
        names.append("val")
    losses: dict[str, dict[str, list[float]]] = {}
    callbacks = [lightgbm.record_evaluation(losses), *callbacks]
    if val_rows is not None and kind.options.boosting == "gbdt":
        only_val = lightgbm.early_stopping(_PATIENCE, verbose=False)
        callbacks.append(only_val)
    booster = lightgbm.train(
        parameters, train_set, num_trees, valid_sets=sets, valid_names=names, init_model=base, callbacks=callbacks
    )
    kept = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration or -1))
    return kept, {name: next(iter(found.values())) for name, found in losses.items()}


def _telling(live: LiveProgress, *, column: int, num_columns: int) -> Callable[..., None]:
    """LightGBM calls it after each tree of one of the boosters. With validation rows it may end before the last one."""

    def tell(environment: Any) -> None:
        if not live.is_due:
            return
        num_trees = environment.end_iteration - environment.begin_iteration
        measured = environment.evaluation_result_list or []
        told = TrainingProgress(
            unit="tree",
            step=column * num_trees + environment.iteration - environment.begin_iteration + 1,
            num_steps=num_columns * num_trees,
            is_at_most=any(name == "val" for name, *_ in measured),
        )
        live.tell(told, [loss for name, _, loss, *_ in measured if name == "train"])

    return tell


def parameters_of(spec: TaskSpec, options: Any) -> dict[str, Any]:
    """LightGBM's own names; what makes it deterministic among them."""
    objective = "regression" if spec.output.type == "number" else "binary"
    if spec.output.type == "number" and spec.compared_metric == "mae":
        objective = "regression_l1"
    parameters: dict[str, Any] = {"objective": objective}
    if spec.output.type == "category" and len(spec.classes) > 2:
        parameters = {"objective": "multiclass", "num_class": len(spec.classes)}
    if options.boosting == "rf":
        parameters |= {"bagging_fraction": _RF_SHARE, "bagging_freq": 1, "feature_fraction": _RF_SHARE}
    return {
        **parameters,
        "boosting": options.boosting,
        "num_leaves": options.num_leaves,
        "learning_rate": options.learning_rate,
        "min_data_in_leaf": options.min_rows,
        "seed": spec.training.seed,
        "deterministic": True,
        # LightGBM asks for one of force_row_wise and force_col_wise beside `deterministic`.
        "force_row_wise": True,
        "num_threads": spec.training.num_threads,
        "verbosity": -1,
    }


def _base_of(job: TrainingJob, kind: Any) -> tuple[Sequence["lightgbm.Booster"], StartRecord]:
    """The champion's trees, where new ones can be added to them, and in words why not."""
    path = job.base_model_path
    if path is None:
        return (), StartRecord(base="")
    reason = why_no_weights(path, "trees") or _why_no_more_trees(path, kind)
    if reason:
        return (), StartRecord(base="", why_fresh=reason)
    boosters = kind.load_model((path / TREES).read_text(), {})
    return boosters, StartRecord(base=job.base_name, num_trees=sum(each.num_trees() for each in boosters))


def _why_no_more_trees(path: Path, kind: Any) -> str:
    of_base, spec = TaskSpec.model_validate_json(read_model(path).task_json), kind.spec
    if kind.options.boosting == "rf":
        return "a forest is a mean of equal trees, to which none can be added"
    if of_base.inputs != spec.inputs or of_base.output != spec.output:
        return "the champion's trees are for other inputs or another output"
    if of_base.model.options.get("boosting", "gbdt") != "gbdt":
        return "the champion is a forest, to which no tree can be added"
    return ""


def _history_of(histories: Sequence[dict[str, list[float]]]) -> tuple[EpochMetrics, ...]:
    """A few lines of mean losses; `epoch` counts trees."""
    num = max(len(each["train"]) for each in histories)
    marks = sorted({max(1, round(num * part / _LINES)) for part in range(1, _LINES + 1)})
    peak_mb = peak_memory_mb()
    return tuple(
        EpochMetrics(
            epoch=mark,
            train_loss=float(_mean_loss(histories, "train", mark) or 0.0),
            val_loss=_mean_loss(histories, "val", mark),
            val_accuracy=None,
            peak_memory_mb=peak_mb if mark == marks[-1] else None,
        )
        for mark in marks
    )


def _mean_loss(histories: Sequence[dict[str, list[float]]], name: str, mark: int) -> float | None:
    found = [each[name][min(mark, len(each[name])) - 1] for each in histories if name in each]
    return float(np.mean(found)) if found else None


def _prove(boosters: Any, kind: Any, state: dict[str, Any], rows: LabelledRows, spec: TaskSpec) -> None:
    """Refuse a model that no server could answer with."""
    try:
        answers_of(kind.decode(boosters, kind.encode(rows.inputs.slice(0, 256), state)), spec.output)
    except ValueError as error:
        raise DataRejected(f"The trees of {spec.name!r} give answers that cannot be used: {error}.") from None


def main() -> None:
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Train the trees of one training job.")
    parser.add_argument("job", type=Path, help="the training job, a JSON file")
    job = TrainingJob.model_validate_json(parser.parse_args().job.read_bytes())
    try:
        train(job)
    except ModuleNotFoundError as error:
        missing = PolicyError(f"{error}. The kind `trees` needs the extra `trees`: pip install 'ratchet[trees]'.")
        record_failure(missing, job.failure_path, rank=0, world_size=1)
    except BaseException as error:
        if not record_failure(error, job.failure_path, rank=0, world_size=1):
            raise


if __name__ == "__main__":
    main()
