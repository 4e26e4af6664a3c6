"""Churn, invariances, calibration, and a gate whose rules cannot fail."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import PolicyError
from ratchet.core.labels.answers import answers_of
from ratchet.core.labels.schema import CategoryOutput, ExampleSchema, NumberOutput, TagsOutput
from ratchet.core.models.calibration import Certainty, certainty_of, check_calibration, measure_calibration
from ratchet.core.models.churn import check_churn, distance_of, moved
from ratchet.core.models.gate import GateRows, judge
from ratchet.core.models.invariances import InvariantAnswers, changed_inputs, check_invariance
from ratchet.core.models.rules import check_rules
from tests.unit.core.models.test_evaluation import POLICY

YES_NO = CategoryOutput(type="category", classes=("no", "yes"))
NUMBER = NumberOutput(type="number")
TAGS = TagsOutput(type="tags", classes=("a", "b"))


def said(*yes: float):
    return answers_of(np.array([[1 - each, each] for each in yes]), YES_NO)


def with_rules(**changes: object):
    return POLICY.model_copy(update=changes)


def test_an_answer_moved_when_it_is_another_one():
    assert moved(said(0.6, 0.9, 0.1), said(0.9, 0.2, 0.2), beyond=0).tolist() == [False, True, False]
    numbers = [answers_of(np.array(each), NUMBER) for each in ([1.0, 2.0], [1.05, 2.2])]
    assert moved(*numbers, beyond=0.1).tolist() == [False, True]
    tags = [answers_of(np.array(each), TAGS) for each in ([[0.9, 0.9], [0.9, 0.1]], [[0.6, 0.7], [0.1, 0.1]])]
    assert moved(*tags, beyond=0).tolist() == [False, True]


def test_a_number_moves_by_a_share_of_the_spread_of_the_labels():
    assert distance_of(np.array([0.0, 2.0]), share=0.05) == 0.05
    assert distance_of(np.array([1, 0, 1]), share=0.05) == 0.0, "classes have no distance"


@pytest.mark.parametrize(
    ("num", "limit", "passed"),
    [
        pytest.param(100, None, True, id="told"),
        pytest.param(0, 0.03, True, id="none-of-100-is-at-most-2.95-percent"),
        pytest.param(0, 0.029, False, id="which-a-tighter-limit-refuses"),
        pytest.param(5, 0.05, False, id="the-seen-share-is-not-the-bound"),
    ],
)
def test_churn_at_its_boundary(num, limit, passed):
    reason = check_churn(np.arange(100) < num, with_rules(churn_max=limit))
    assert reason.passed is passed, reason.text
    assert f"({num} of 100)" in reason.text


TEXTS = ExampleSchema.model_validate(
    {
        "inputs": [{"name": "text", "type": "text", "optional": True}, {"name": "kind", "type": "category"}],
        "output": {"type": "category", "classes": ["no", "yes"]},
    }
)
PIXELS = ExampleSchema.model_validate(
    {
        "inputs": [{"name": "image", "type": "image", "width": 3, "height": 2, "channels": 1}],
        "output": {"type": "category", "classes": ["no", "yes"]},
    }
)


@pytest.mark.parametrize(
    ("name", "after"),
    [("upper_case", "GRÜẞ GOTT"), ("lower_case", "grüß gott"), ("whitespace", " Grüß  Gott ")],
)
def test_texts_are_changed_and_nothing_else(name, after):
    rows = pa.table({"text": pa.array(["Grüß Gott", None]), "kind": pa.array(["A b", "c D"])})
    found = changed_inputs(rows, TEXTS, name).to_pylist()
    assert found[0]["text"].replace("SS", "ẞ") == after and found[1]["text"] is None
    assert [row["kind"] for row in found] == ["A b", "c D"]


@pytest.mark.parametrize(("name", "after"), [("horizontal_flip", b"cbafed"), ("vertical_flip", b"defabc")])
def test_pictures_are_flipped(name, after):
    rows = pa.table({"image": pa.array([b"abcdef"], pa.binary(6))})
    changed = changed_inputs(rows, PIXELS, name)
    assert changed.to_pylist() == [{"image": after}] and changed.schema == rows.schema
    assert changed_inputs(changed, PIXELS, name).equals(rows), "a flip undoes itself"


@pytest.mark.parametrize(
    ("stays", "champion", "passed"),
    [
        pytest.param(190, None, True, id="at-the-share"),
        pytest.param(189, None, False, id="one-under"),
        pytest.param(192, 200, False, id="provably-worse-than-the-champion"),
        pytest.param(199, 200, True, id="not-provably"),
    ],
)
def test_invariance_at_each_boundary(stays, champion, passed):
    before = None if champion is None else np.arange(200) < champion
    reason = check_invariance(InvariantAnswers("upper_case", np.arange(200) < stays, before), POLICY)
    assert (reason.check, reason.passed) == ("invariant:upper_case", passed), reason.text


def certain(probability_N: np.ndarray, right_N: np.ndarray) -> Certainty:
    return Certainty(probability_N[:, None], right_N[:, None])


def test_calibration_of_tags_is_that_of_each_yes_or_no():
    answers = answers_of(np.array([[0.9, 0.2], [0.9, 0.2], [0.6, 0.5]]), TAGS)
    targets = np.array([[1, 0], [0, 0], [1, 1]])
    found = certainty_of(answers, targets, TAGS, classes=("b", "z"))
    assert found is not None, "the model knows one of the tags, as its first"
    assert found.probability_ND.ravel() == pytest.approx([0.9, 0.9, 0.6])
    assert found.right_ND.ravel().tolist() == [False, False, True]
    assert certainty_of(answers, targets, TAGS, classes=("x", "z")) is None


def test_tags_of_a_row_are_resampled_together():
    """Copies of a tag say nothing more, so the bounds do not close in."""
    one = certain(np.full(100, 0.9), np.arange(100) < 70)
    many = Certainty(np.repeat(one.probability_ND, 8, axis=1), np.repeat(one.right_ND, 8, axis=1))
    assert measure_calibration(many, confidence=0.95) == pytest.approx(measure_calibration(one, confidence=0.95))


def test_calibration_is_the_mean_distance_of_what_is_said_and_what_holds():
    found = measure_calibration(certain(np.full(100, 0.9), np.arange(100) < 70), confidence=0.95)
    assert found.value == pytest.approx(0.2)
    assert 0.1 < found.lower < 0.2 < found.upper < 0.3


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200))
def test_calibration_lies_within_its_bounds(rows):
    found = measure_calibration(certain(*map(np.array, zip(*rows, strict=True))), confidence=0.95)
    assert 0 <= found.lower <= found.value <= found.upper <= 1 + 1e-9


@pytest.mark.parametrize(("limit", "passed"), [(None, True), (0.5, True), (0.25, False)])
def test_calibration_refuses_by_its_upper_bound(limit, passed):
    found = measure_calibration(certain(np.full(100, 0.9), np.arange(100) < 70), confidence=0.95)
    assert check_calibration(found, found, with_rules(ece_max=limit)).passed is passed


def gate_rows(**changes: object) -> GateRows:
    yes = np.tile([0.9, 0.1], 100)
    answers = said(*yes)
    whole = {
        "output": YES_NO,
        "metric": "accuracy",
        "targets": (yes > 0.5).astype(np.int64),
        "challenger": answers,
        "champion": answers,
        "served": answers.texts,
        "champion_classes": YES_NO.classes,
        **changes,
    }
    return GateRows(**whole)


def test_the_whole_gate_says_all_of_it():
    stays = InvariantAnswers("upper_case", np.ones(200, bool), None)
    judged = judge(gate_rows(invariances=[stays], num_judged=3), policy=with_rules(false_pass_max=0.9), inputs={})
    checks = [reason.check for reason in judged.reasons]
    wanted = {"test_rows_reused", "non_inferiority_of_all", "churn", "invariant:upper_case", "calibration"}
    assert wanted <= set(checks), checks
    assert judged.verdict == "passed", judged.summary()


def test_a_first_model_is_judged_by_floors_and_bad_ones_fail():
    wrong = said(*np.tile([0.1, 0.9], 100))
    judged = judge(gate_rows(challenger=wrong, champion=None, served=wrong.texts), policy=POLICY, inputs={})
    assert "accuracy" in [reason.check for reason in judged.failed]


@pytest.mark.parametrize(
    ("output", "changes", "says"),
    [
        pytest.param(YES_NO, {"accuracy_min": 0.0}, "accuracy_min is 0", id="no-floor-for-a-category"),
        pytest.param(TAGS, {"tags_f1_min": 0.0}, "tags_f1_min is 0", id="no-floor-for-tags"),
        pytest.param(YES_NO, {"gain_min": -1.0, "loss_max": 1.0}, "loss_max is 1", id="no-comparison"),
        pytest.param(NUMBER, {"gain_min": -1.0, "loss_max": 1.0}, "loss_max is 1", id="nor-of-a-number"),
    ],
)
def test_rules_that_cannot_fail_are_an_error(output, changes, says):
    with pytest.raises(PolicyError, match=says):
        check_rules(output, with_rules(**changes))


@pytest.mark.parametrize("output", [YES_NO, TAGS, NUMBER])
def test_rules_that_can_fail_are_none(output):
    check_rules(output, POLICY)
    check_rules(output, with_rules(gain_min=-1.0))
    check_rules(output, with_rules(loss_max=1.0))
