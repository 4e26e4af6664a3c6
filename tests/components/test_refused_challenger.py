"""A refused challenger is seen in the registry with its numbers; its accuracy is the number that the gate judged."""

import numpy as np
import pytest

from components.evaluate.refused import note_refused
from components.evaluate.step import metrics_of
from ratchet.core.errors import Unavailable
from ratchet.core.models.evaluation import EvaluationPolicy, PairedAnswers, judge_challenger
from tests.fakes.registry import FakeRegistry

POLICY = EvaluationPolicy(
    confidence=0.95,
    loss_max=0.03,
    gain_min=0,
    accuracy_min=0.8,
    num_rows_min=3,
    slice_loss_max=0.1,
    slice_rows_min=10,
    serving_mismatch_max=0,
)
LABELS = ("a", "a", "b", "b")
ANSWERS = ("a", "a", "b", "a")
VERDICT = judge_challenger(
    PairedAnswers(labels=LABELS, challenger=ANSWERS, champion=None, served=ANSWERS),
    policy=POLICY,
    inputs={"dataset_version": "pets/v3", "champion": ""},
)


def test_a_refused_challenger_is_noted_with_its_metrics_the_gate_both_numbers_and_the_next_step(tmp_path):
    registry = FakeRegistry()
    for _ in range(2):
        note_refused(registry, VERDICT, {"test_accuracy": 0.75}, task="pets", run_id="run-1", model_path=tmp_path)
    (noted,) = registry.refused.items()
    key, (tags, metrics) = noted
    assert (key, metrics) == ("run-1", {"test_accuracy": 0.75})
    assert tags["verdict"] == "refused"
    assert "75.0%" in tags["reasons"] and "80.0%" in tags["reasons"]
    assert "ratchet run retrain --task pets" in tags["next_step"]
    assert registry.list_versions("pets") == ()


def test_a_registry_that_is_away_turns_no_refusal_red(caplog, tmp_path):
    class Away(FakeRegistry):
        def note_refused(self, *args, **kwargs):
            raise Unavailable("MLflow does not answer")

    note_refused(Away(), VERDICT, {}, task="pets", run_id="run-1", model_path=tmp_path)
    assert "MLflow does not answer" in caplog.text


@pytest.mark.parametrize(
    ("of_task", "expected"),
    [
        pytest.param({"accuracy": 0.75}, {"test_accuracy": 0.75}, id="the-same"),
        pytest.param(
            {"accuracy": 0.5, "f1": 0.6},
            {"test_accuracy": 0.75, "test_task_accuracy": 0.5, "test_f1": 0.6},
            id="another-thing-by-that-name",
        ),
        pytest.param({}, {"test_accuracy": 0.75}, id="none"),
    ],
)
def test_the_accuracy_that_is_shown_is_the_one_that_the_gate_judged(of_task, expected):
    assert metrics_of(VERDICT, of_task) == expected
    judged = next(reason.value for reason in VERDICT.reasons if reason.check == "accuracy")
    assert expected["test_accuracy"] == judged == np.mean([a == b for a, b in zip(LABELS, ANSWERS, strict=True)])
