"""The gate: challenger against champion on the same test rows, and once through the real model server."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from ratchet import __version__
from ratchet.actions.labels.rows import fetch_split
from ratchet.core.digest import digest_of
from ratchet.core.errors import DataRejected
from ratchet.core.labels.dataset import Manifest
from ratchet.core.models.evaluation import ACCURACY, EvaluationPolicy, PairedAnswers, judge_challenger
from ratchet.core.models.ledger import ModelRef, champion_of
from ratchet.core.ports import DatasetStore, Ledger, ModelProbe, ObjectStore
from ratchet.core.verdict import Verdict
from ratchet.stores.finished import FinishedSteps
from ratchet.tasks.identity import model_digest
from ratchet.tasks.model_files import ServableModel, load_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.checks import check_metrics
from ratchet.training.data import read_rows

log = logging.getLogger(__name__)
_SAME_WITHIN = 1e-9
STEP = "evaluate"


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
) -> tuple[Verdict, dict[str, float]]:
    """Judge the model in `model_path`; gives the verdict and the challenger's own metrics.

    Safe to repeat: it changes nothing but what it keeps in `finished`, where a run that repeats it finds the verdict.
    """
    champion_ref = champion_of(ledger.list_entries(spec.name))
    inputs = _inputs_of(manifest, champion_ref, challenger=model_digest(model_path), policy=policy)
    found = finished.find(STEP, inputs, Judged)
    if found is not None:
        of_run, judged = found
        finished.note_taken(STEP, of_run, f"{judged.verdict.verdict}, {judged.verdict.summary()}")
        return judged.verdict, judged.metrics
    verdict, metrics = _judge(
        spec, manifest, model_path, champion_ref, policy=policy, datasets=datasets, objects=objects, probe=probe
    )
    finished.put(STEP, inputs, Judged(verdict=verdict, metrics=metrics))
    return verdict, metrics


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
) -> tuple[Verdict, dict[str, float]]:
    challenger = load_model(model_path)
    spec = challenger.spec  # what it was trained for: the task file may have changed since
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        rows = fetch_split(datasets, manifest, "test", scratch / "test.parquet", spec=spec)
        features_NF, labels_N = read_rows(scratch / "test.parquet", spec)
        champion = None
        if champion_ref is not None:
            objects.fetch_directory(champion_ref.uri, scratch / "champion")
            champion = _comparable(load_model(scratch / "champion", expected_digest=champion_ref.digest), spec)
        served = probe.fetch_answers(model_path, features_NF.tolist()) if len(labels_N) else ()
        answers = PairedAnswers(
            labels=[spec.classes[index] for index in labels_N],
            challenger=_answers_of(challenger, features_NF),
            # Within the folder's life: the code of a model may read its data files when it answers.
            champion=_answers_of(champion, features_NF) if champion else None,
            served=served,
            classes=spec.classes,
            champion_classes=champion.spec.classes if champion else (),
            num_left_out=rows.left_out,
        )
    inputs = {
        "dataset_version": manifest.version,
        "challenger": challenger.digest,
        "champion": champion_ref.digest if champion_ref else "",
        "champion_version": champion_ref.version if champion_ref else "",
    }
    verdict = judge_challenger(answers, policy=policy, inputs=inputs)
    log.info("%s: %s", verdict.verdict, verdict.summary())
    return verdict, metrics_of(verdict, _task_metrics_of(challenger, features_NF, labels_N))


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


def _comparable(champion: ServableModel, spec: TaskSpec) -> ServableModel:
    """The champion, when it takes the rows that the challenger takes."""
    takes, given = champion.spec.features.num_features, spec.features.num_features
    if takes != given:
        raise DataRejected(
            f"The champion of {spec.name!r} takes {takes} features and the challenger {given}: no row can be given to "
            f"both, so nothing can be compared. Set features.num_features back to {takes}, or give the task with "
            f"{given} features a new name."
        )
    return champion


def _answers_of(model: ServableModel, features_NF: np.ndarray) -> list[str]:
    if len(features_NF) == 0:
        return []
    return [model.spec.classes[index] for index in model.predict_proba(features_NF).argmax(axis=1)]


def _task_metrics_of(model: ServableModel, features_NF: np.ndarray, labels_N: np.ndarray) -> dict[str, float]:
    if len(labels_N) == 0:
        return {}
    predicted_N = model.predict_proba(features_NF).argmax(axis=1)
    return check_metrics(model.task.metrics(predicted_N, labels_N), spec=model.spec)
