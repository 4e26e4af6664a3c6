"""Parts of the test rows where the challenger is worse, in the verdict of the gate."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ratchet.core.labels.answers import answers_of
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec, TagsOutput
from ratchet.core.models.evaluation import EvaluationPolicy
from ratchet.core.models.gate import GateRows, judge
from ratchet.core.models.slices.check import FOUND
from ratchet.core.models.slices.columns import SliceColumn
from ratchet.core.verdict import Verdict

NUM = 8_000
BAD = np.arange(NUM) % 10 == 0
COLUMN = SliceColumn(('carrier is "AA"', 'carrier is "UA"'), np.where(BAD, 0, 1).astype(np.int32))
POLICY = EvaluationPolicy(
    confidence=0.95, loss_max=0.5, gain_min=-0.5, accuracy_min=0.1, num_rows_min=30, slice_loss_max=0.1,
    slice_rows_min=NUM, serving_mismatch_max=1, r2_min=-10, tags_f1_min=0.01,
)  # fmt: skip
"""Lenient in all but the parts."""
CATEGORY, NUMBER, TAGS = (
    CategoryOutput(classes=("no", "yes")),
    NumberOutput(),
    TagsOutput(classes=("a", "b", "c", "d")),
)
RANDOM = np.random.default_rng(0)


def one_hot(index: np.ndarray) -> np.ndarray:
    return np.eye(2)[index]


def worse_by(share: float, output: OutputSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, the champion's outputs, and the challenger's, which lost this much where the carrier is AA."""
    is_lost = BAD & (RANDOM.random(NUM) < share)
    if isinstance(output, CategoryOutput):
        targets = RANDOM.integers(0, 2, NUM)
        champion = np.where(RANDOM.random(NUM) < 0.1, 1 - targets, targets)
        return targets, one_hot(champion), one_hot(np.where(is_lost, 1 - targets, champion))
    if isinstance(output, NumberOutput):
        truth, errors = RANDOM.normal(size=NUM), RANDOM.normal(size=NUM)
        return truth, truth + errors, truth + errors * np.where(BAD, 1 + share, 1)
    is_set = (RANDOM.random((NUM, 4)) < 0.5).astype(np.float64)
    return is_set, is_set, np.where(is_lost[:, None], 1 - is_set, is_set)


def judged(output: OutputSpec, share: float, **changes: Any) -> Verdict:
    targets, champion, challenger = worse_by(share, output)
    classes = getattr(output, "classes", ())
    rows = GateRows(
        output=output,
        metric={"category": "accuracy", "number": "mae", "tags": "tags_f1"}[output.type],
        targets=targets,
        challenger=answers_of(challenger, output),
        champion=answers_of(champion, output),
        served=answers_of(challenger, output).labels.to_pylist(),
        champion_classes=classes,
        training_mean=0.0,
        columns=(COLUMN,),
    )
    return judge(replace(rows, **changes), policy=POLICY, inputs={})


@pytest.mark.parametrize("output", [CATEGORY, NUMBER, TAGS], ids=lambda output: output.type)
def test_a_part_that_lost_more_than_the_limit_refuses_by_name(output: OutputSpec) -> None:
    verdict = judged(output, 0.4)
    assert verdict.verdict == "refused"
    assert [reason.check for reason in verdict.failed] == ['found_slice:carrier is "AA"']
    (reason,) = verdict.failed
    assert isinstance(reason.value, float) and reason.value < -0.1 == reason.limit
    assert 'where carrier is "AA": -' in reason.text and "rows that were not searched" in reason.text


def test_a_part_that_lost_less_is_told_and_passes() -> None:
    verdict = judged(CATEGORY, 0.1)
    told = [reason for reason in verdict.reasons if reason.check.startswith("found_slice:")]
    assert verdict.verdict == "passed" and [reason.passed for reason in told] == [True]


def test_nothing_found_is_said_with_how_much_was_looked_at() -> None:
    verdict = judged(CATEGORY, 0.0)
    (reason,) = (reason for reason in verdict.reasons if reason.check == FOUND)
    assert verdict.verdict == "passed" and reason.passed
    assert reason.text == "no part found where the challenger is worse, of 2 that were looked at"


def test_without_columns_or_a_champion_nothing_is_searched() -> None:
    for changes in ({"columns": ()}, {"champion": None}):
        assert not [reason for reason in judged(CATEGORY, 0.4, **changes).reasons if "found" in reason.check]


def test_rows_of_a_class_that_the_champion_does_not_know_prove_nothing_against_the_challenger() -> None:
    """The champion is wrong on all of them, and the search would call every other part worse."""
    verdict = judged(CATEGORY, 0.4, champion_classes=("no",))
    assert 'found_slice:carrier is "AA"' in [reason.check for reason in verdict.failed]
