"""The gate: challenger against champion on the same test rows, and once through the real model server."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ratchet.actions.dataset_rows import fetch_split
from ratchet.core.dataset import Manifest
from ratchet.core.errors import DataRejected
from ratchet.core.evaluation import Answers, EvaluationPolicy, judge_challenger
from ratchet.core.ledger import champion_of
from ratchet.core.ports import DatasetStore, Ledger, ModelProbe, ObjectStore
from ratchet.core.verdict import Verdict
from ratchet.tasks.model_files import ServableModel, load_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.checks import check_metrics
from ratchet.training.data import read_rows

log = logging.getLogger(__name__)
_SAME_WITHIN = 1e-9


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
) -> tuple[Verdict, dict[str, float]]:
    """Judge the model in `model_path`; gives the verdict and the challenger's own metrics."""
    champion_ref = champion_of(ledger.list_entries(spec.name))
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
        answers = Answers(
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
    judged = next((reason.value for reason in verdict.reasons if reason.check == "accuracy"), None)
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
