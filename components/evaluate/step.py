"""The gate: challenger against champion on the same test rows, and once through the real model server."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from components.evaluate.cases import answer_cases, trained_cases
from components.evaluate.changed import answer_changed
from components.evaluate.comparable import check_comparable
from components.evaluate.old_data import ages_of
from components.evaluate.served import served_beside
from ratchet import __version__
from ratchet.actions.labels.rows import fetch_split
from ratchet.actions.models.pinned_cases import NO_CASES, PinnedRows
from ratchet.actions.models.training import LINEAGE_FILE, TRAINING_ROWS
from ratchet.core.digest import digest_of
from ratchet.core.labels.dataset import Manifest
from ratchet.core.models.evaluation import ACCURACY, EvaluationPolicy
from ratchet.core.models.gate import GateRows, judge, outputs_of
from ratchet.core.models.ledger import ModelRef, champion_of
from ratchet.core.models.metrics import measure, measures_of
from ratchet.core.models.page.parts import JudgedRows
from ratchet.core.models.slices.columns import SliceColumn, columns_of, label_column
from ratchet.core.ports import DatasetStore, Ledger, ModelProbe, ObjectStore
from ratchet.core.verdict import Verdict
from ratchet.stores.finished import FinishedSteps
from ratchet.stores.judgements import Judgements
from ratchet.tasks.identity import TASK, model_digest
from ratchet.tasks.spec import TaskSpec
from ratchet.training.split_rows import labels_of, read_split

if TYPE_CHECKING:
    from ratchet.tasks.model_files import ServableModel

log = logging.getLogger(__name__)
# A class may add up the same numbers in another order than the gate.
_SAME_WITHIN = 1e-9
STEP = "evaluate"


def untold(judged: JudgedRows) -> None:
    """Where nobody draws a page."""


class Judged(BaseModel):
    """What an evaluation came to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    metrics: dict[str, float]


def evaluate_step(
    spec: TaskSpec,
    manifest: Manifest,
    model_path: Path,
    *,
    policy: EvaluationPolicy,
    datasets: DatasetStore,
    objects: ObjectStore,
    ledger: Ledger,
    probe: ModelProbe,
    finished: FinishedSteps,
    pinned: PinnedRows = NO_CASES,
    judgements: Judgements | None = None,
    tell: Callable[[JudgedRows], None] = untold,
) -> tuple[Verdict, dict[str, float]]:
    """Judge the model in `model_path`; gives the verdict and the challenger's own metrics.

    judgements: None: how often the test rows have judged is not counted. tell: gets what a page shows, unless the
    verdict is taken over.

    Safe to repeat: it changes nothing but what it keeps in `finished`, where a run that repeats it finds the verdict.
    """
    champion_ref = champion_of(ledger.list_entries(spec.name))
    inputs = _inputs_of(manifest, champion_ref, challenger=model_digest(model_path), policy=policy)
    if pinned.cases:
        inputs["pinned cases"] = pinned.digest
    found = finished.find(STEP, inputs, Judged)
    if found is not None:
        of_run, judged = found
        finished.note_taken(STEP, of_run, f"{judged.verdict.verdict}, {judged.verdict.summary()}")
        return judged.verdict, judged.metrics
    num_judged = _count(judgements, spec.name, manifest, inputs)
    verdict, metrics = _judge(
        spec,
        manifest,
        model_path,
        champion_ref,
        policy=policy,
        datasets=datasets,
        objects=objects,
        probe=probe,
        pinned=pinned,
        num_judged=num_judged,
        tell=tell,
    )
    finished.put(STEP, inputs, Judged(verdict=verdict, metrics=metrics))
    return verdict, metrics


def _count(judgements: Judgements | None, task: str, manifest: Manifest, inputs: Mapping[str, str]) -> int | None:
    """Challengers that the test rows judged before this one."""
    if judgements is None:
        return None
    named = {name: inputs[name] for name in ("challenger", "champion")}
    return judgements.note(task, version=manifest.version, **named)


def _inputs_of(
    manifest: Manifest, champion: ModelRef | None, *, challenger: str, policy: EvaluationPolicy
) -> dict[str, str]:
    """All that decides a verdict: a model's digest holds its code and its task file."""
    return {
        "dataset version": manifest.version,
        "dataset content": digest_of(manifest.model_dump(mode="json")),
        "challenger": challenger,
        "champion": champion.digest if champion else "",
        "evaluation policy": digest_of(policy.model_dump(mode="json")),
        "ratchet": __version__,
    }


def _judge(
    spec: TaskSpec,
    manifest: Manifest,
    model_path: Path,
    champion_ref: ModelRef | None,
    *,
    policy: EvaluationPolicy,
    datasets: DatasetStore,
    objects: ObjectStore,
    probe: ModelProbe,
    pinned: PinnedRows,
    num_judged: int | None,
    tell: Callable[[JudgedRows], None],
) -> tuple[Verdict, dict[str, float]]:
    # What it was trained for: the task file may have changed since. The digest has read the folder whole before.
    spec = TaskSpec.model_validate_json((model_path / TASK).read_bytes())
    with tempfile.TemporaryDirectory() as scratch_name, ExitStack() as stack:
        scratch = Path(scratch_name)
        split = fetch_split(datasets, manifest, "test", scratch / "test.parquet", spec=spec)
        inputs, labels = read_split(scratch / "test.parquet", spec)
        served_to = stack.enter_context(served_beside(probe, model_path, inputs, policy))
        challenger = _load(model_path)
        ids = pq.read_table(scratch / "test.parquet", columns=["id"])["id"]
        targets = labels_of(labels, spec)
        champion = _load_champion(champion_ref, spec, objects, scratch / "champion")
        rows = GateRows(
            output=spec.output,
            metric=spec.compared_metric,
            targets=targets.astype(np.float64) if spec.output.type == "number" else targets,
            challenger=challenger.answer(inputs),
            # Within the folder's life: the code of a model may read its data files when it answers.
            champion=champion.answer(inputs) if champion else None,
            champion_classes=champion.spec.classes if champion else (),
            num_left_out=split.left_out,
            training_mean=_training_mean(spec, manifest, datasets, scratch / "train.parquet"),
            columns=[*_columns_of(inputs, labels, spec), *ages_of(datasets, manifest, champion_ref, ids, split)]
            if champion_ref
            else (),
            invariances=answer_changed(inputs, challenger, champion, policy),
            num_judged=num_judged,
            temperature=challenger.temperature,
            cases=answer_cases(
                pinned,
                challenger,
                champion,
                trained=trained_cases(pinned, manifest, datasets, model_path, scratch, spec),
            ),
            served=(),
        )
        labels_of_server, evidence = served_to(challenger)
        rows = replace(rows, served=labels_of_server, serving=evidence)
        unseen = challenger.unseen(inputs)
    of_verdict = {
        "dataset_version": manifest.version,
        "challenger": challenger.digest,
        "champion": champion_ref.digest if champion_ref else "",
        "champion_version": champion_ref.version if champion_ref else "",
        **_training_rows_of(model_path),
    }
    verdict = judge(rows, policy=policy, inputs=of_verdict)
    tell(JudgedRows(rows, ids.to_pylist(), inputs, pinned.cases, policy))
    log.info("%s: %s", verdict.verdict, verdict.summary())
    if unseen:
        named = ", ".join(f"{name} ({num})" for name, num in unseen.items())
        log.warning("test rows with a category that the training rows do not have, by input: %s", named)
    numbers = {**_measures_of(challenger, rows), **{f"unseen_{name}": float(num) for name, num in unseen.items()}}
    return verdict, metrics_of(verdict, numbers)


def _training_rows_of(model_path: Path) -> dict[str, str]:
    """Which rows the challenger was trained on, as `finetune` noted it; {} for all of them."""
    path = model_path / LINEAGE_FILE
    lineage = json.loads(path.read_bytes()) if path.exists() else {}
    return {TRAINING_ROWS: str(lineage[TRAINING_ROWS])} if TRAINING_ROWS in lineage else {}


def _columns_of(inputs: pa.Table, labels: pa.ChunkedArray, spec: TaskSpec) -> list[SliceColumn]:
    """What divides the rows: their inputs, and the class."""
    columns = columns_of(inputs, spec.examples)
    return columns if spec.output.type != "category" else [*columns, label_column(labels.to_pylist())]


def _load(path: Path, *, expected_digest: str = "") -> "ServableModel":
    from ratchet.tasks.model_files import load_model  # and torch with it

    return load_model(path, expected_digest=expected_digest)


def _load_champion(
    champion: ModelRef | None, spec: TaskSpec, objects: ObjectStore, path: Path
) -> "ServableModel | None":
    """The champion, when it answers the rows that the challenger answers."""
    if champion is None:
        return None
    objects.fetch_directory(champion.uri, path)
    model = _load(path, expected_digest=champion.digest)
    check_comparable(model.spec, spec)
    return model


def _training_mean(spec: TaskSpec, manifest: Manifest, datasets: DatasetStore, path: Path) -> float | None:
    """Of the labels that the challenger learned from: what a model of numbers has to beat."""
    if spec.output.type != "number":
        return None
    fetch_split(datasets, manifest, "train", path, spec=spec)
    labels = pq.read_table(path, columns=["label"])["label"]
    # The 24 bits of a float32 are too few for the sum of many labels.
    return float(labels_of(labels, spec).mean(dtype=np.float64)) if len(labels) else None


def metrics_of(verdict: Verdict, of_task: Mapping[str, float]) -> dict[str, float]:
    """The task's own numbers of the test rows, and as `test_accuracy` the very number that the gate judged.

    A task may mean another thing by "accuracy" (balanced, top 5): where it differs it is `test_task_accuracy`.
    """
    named = {f"test_{name}": value for name, value in of_task.items()}
    judged = next((reason.value for reason in verdict.reasons if reason.check == ACCURACY), None)
    if judged is None:
        return named
    of_gate = float(judged)
    own = named.get("test_accuracy", of_gate)
    differs = {"test_task_accuracy": own} if abs(own - of_gate) > _SAME_WITHIN else {}
    return {**named, **differs, "test_accuracy": of_gate}


def _measures_of(model: "ServableModel", rows: GateRows) -> dict[str, float]:
    """What the class measures itself, as those of before do, or every metric of the output's type."""
    if not len(rows.targets):
        return {}
    outputs = outputs_of(rows.challenger)
    if rows.output.type == "category":
        own = model.own_metrics(outputs.argmax(axis=1), rows.targets)
        if own is not None:
            compared = measure(rows.metric, rows.targets, outputs)
            named = {rows.metric: compared} if np.isfinite(compared) else {}
            from ratchet.training.checks import check_metrics  # torch, which the model has loaded

            return {**named, **check_metrics(own, spec=model.spec)}
    return measures_of(rows.output.type, rows.targets, outputs)
