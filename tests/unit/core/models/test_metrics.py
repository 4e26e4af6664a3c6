"""The gate's metrics against scikit-learn's, their bounds, and the gate for numbers and tags."""

import time

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ratchet.core.labels.answers import answers_of
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, TagsOutput
from ratchet.core.models.gate import GateRows, judge
from ratchet.core.models.metrics import METRICS, compare, measure
from tests.unit.core.models.test_evaluation import POLICY

NUM = 600
NUMBER, TAGS = NumberOutput(), TagsOutput(classes=("x", "y", "z"))
CLASSES = CategoryOutput(classes=("no", "yes"))


def numbers(*, noise: float, seed: int = 1, num: int = NUM) -> tuple[np.ndarray, np.ndarray]:
    truth = np.random.default_rng(0).normal(size=num)
    return truth, truth + np.random.default_rng(seed).normal(size=num) * noise


def scores(num_classes: int, *, skill: float, seed: int = 1, num: int = NUM) -> tuple[np.ndarray, np.ndarray]:
    truth = np.random.default_rng(0).integers(0, num_classes, num)
    found = np.random.default_rng(seed).dirichlet(np.ones(num_classes), num)
    found[np.arange(num), truth] += skill
    return truth, found / found.sum(axis=1, keepdims=True)


def tags(*, noise: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    truth = (np.random.default_rng(0).random((NUM, 3)) < 0.3).astype(float)
    return truth, np.clip(truth + np.random.default_rng(seed).normal(size=truth.shape) * noise, 0, 1)


def pair_of(metric: str, quality: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if metric in METRICS["number"]:
        return numbers(noise=1 - quality, seed=seed)
    return tags(noise=1 - quality, seed=seed) if metric == "tags_f1" else scores(3, skill=quality, seed=seed)


def test_each_metric_is_the_usual_one():
    truth, found = scores(3, skill=0.3)
    said = found.argmax(axis=1)
    assert measure("accuracy", truth, found) == pytest.approx(sklearn_metrics.accuracy_score(truth, said))
    assert measure("macro_f1", truth, found) == pytest.approx(sklearn_metrics.f1_score(truth, said, average="macro"))
    assert measure("log_loss", truth, found) == pytest.approx(sklearn_metrics.log_loss(truth, found))
    expected = sklearn_metrics.roc_auc_score(truth, found, multi_class="ovr")
    assert measure("roc_auc", truth, found) == pytest.approx(expected)
    truth, found = scores(2, skill=0.2)
    assert measure("roc_auc", truth, found) == pytest.approx(sklearn_metrics.roc_auc_score(truth, found[:, 1]))
    truth, found = numbers(noise=0.5)
    assert measure("rmse", truth, found) == pytest.approx(sklearn_metrics.root_mean_squared_error(truth, found))
    assert measure("mae", truth, found) == pytest.approx(sklearn_metrics.mean_absolute_error(truth, found))
    assert measure("r2", truth, found) == pytest.approx(sklearn_metrics.r2_score(truth, found))
    truth, found = tags(noise=0.4)
    expected = sklearn_metrics.f1_score(truth, found >= 0.5, average="micro")
    assert measure("tags_f1", truth, found) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("metric", [name for names in METRICS.values() for name in names])
def test_bounds_enclose_the_difference_and_a_better_model_gains_in_every_direction(metric):
    truth, good = pair_of(metric, 0.7, 1)
    _, bad = pair_of(metric, 0.1, 2)
    better, worse = (
        compare(metric, truth, good, bad, confidence=0.95),
        compare(metric, truth, bad, good, confidence=0.95),
    )
    assert better is not None and worse is not None
    assert 0 < better.lower <= better.difference <= better.upper
    assert worse.lower <= worse.difference <= worse.upper < 0
    assert better == compare(metric, truth, good, bad, confidence=0.95), "the same rows give the same bounds"


@pytest.mark.slow
def test_the_lower_bound_holds_as_often_as_it_says():
    """Two equally good models: the bound of 95 % is above 0 in about 5 % of repetitions, in no more than 20 %."""
    above = 0
    for seed in range(30):
        generator = np.random.default_rng(seed)
        truth = generator.normal(size=300)
        one, other = (truth + generator.normal(size=300) for _ in range(2))
        found = compare("rmse", truth, one, other, confidence=0.95)
        above += found is not None and found.lower > 0
    assert above <= 6


def test_the_time_of_a_hundred_thousand_rows_is_recorded(record_property):
    """The goal is 2 s; measured here and not judged, as machines differ."""
    truth, found = scores(10, skill=0.3, num=100_000)
    started = time.perf_counter()
    assert compare("macro_f1", truth, found, found, confidence=0.95) is not None
    record_property("seconds", time.perf_counter() - started)


def test_an_area_under_the_curve_of_one_class_proves_nothing():
    found = np.full((50, 2), 0.5)
    assert compare("roc_auc", np.zeros(50, dtype=int), found, found, confidence=0.95) is None


def gate(output, metric, truth, challenger, champion=None, *, served=None, mean=0.0):
    answers = answers_of(challenger, output)
    rows = GateRows(
        output=output,
        metric=metric,
        targets=truth,
        challenger=answers,
        champion=None if champion is None else answers_of(champion, output),
        served=answers.labels.to_pylist() if served is None else served,
        champion_classes=getattr(output, "classes", ()),
        training_mean=mean,
    )
    return judge(rows, policy=POLICY, inputs={})


def test_a_first_model_of_numbers_has_to_beat_the_mean_of_the_training_labels():
    truth, good = numbers(noise=0.5)
    assert gate(NUMBER, "rmse", truth, good).verdict == "passed"
    constant = gate(NUMBER, "rmse", truth, np.zeros(NUM))
    assert [reason.check for reason in constant.failed] == ["r2"]
    assert [reason.check for reason in gate(NUMBER, "rmse", truth, good, mean=None).failed] == ["r2"]


@pytest.mark.parametrize("metric", METRICS["number"])
def test_a_worse_model_of_numbers_is_refused_whichever_way_the_metric_points(metric):
    truth, good = numbers(noise=0.5)
    _, bad = numbers(noise=0.8, seed=2)
    assert gate(NUMBER, metric, truth, good, bad).verdict == "passed"
    assert [reason.check for reason in gate(NUMBER, metric, truth, bad, good).failed] == ["gain", "non_inferiority"]


def test_numbers_that_the_server_rounds_are_the_same_and_others_are_not():
    truth, good = numbers(noise=0.5)
    rounded = [float(np.float32(value)) for value in good]
    assert gate(NUMBER, "rmse", truth, good, served=rounded).verdict == "passed"
    wrong = [*rounded[:-1], rounded[-1] + 1]
    assert [reason.check for reason in gate(NUMBER, "rmse", truth, good, served=wrong).failed] == ["serving"]


def test_tags_have_a_floor_and_a_champion_of_their_own():
    truth, good = tags(noise=0.3)
    _, bad = tags(noise=0.6, seed=2)
    assert gate(TAGS, "tags_f1", truth, good, bad).verdict == "passed"
    assert "gain" in [reason.check for reason in gate(TAGS, "tags_f1", truth, bad, good).failed]
    assert "tags_f1" in [reason.check for reason in gate(TAGS, "tags_f1", truth, np.zeros((NUM, 3))).failed]


def test_a_category_is_compared_by_the_metric_that_its_task_names():
    truth, good = scores(2, skill=2.0)
    _, bad = scores(2, skill=1.2, seed=2)
    checks = {reason.check: reason.text for reason in gate(CLASSES, "log_loss", truth, good, bad).reasons}
    assert checks["gain"].startswith("log_loss of the challenger")
    assert gate(CLASSES, "log_loss", truth, bad, good).verdict == "refused"
