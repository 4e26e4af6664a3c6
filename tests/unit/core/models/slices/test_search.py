"""The search for parts of the test rows where the challenger is worse."""

import numpy as np
import pytest

from ratchet.core.models.slices.columns import SliceColumn
from ratchet.core.models.slices.search import ROWS_MIN, find_worse

CONFIDENCE = 0.95
NULL_RUNS = 200


def columns(random: np.random.Generator, num_rows: int, *, num: int = 12, size: int = 4) -> list[SliceColumn]:
    return [
        SliceColumn(
            tuple(f"c{column} is {code}" for code in range(size)), random.integers(0, size, num_rows).astype(np.int32)
        )
        for column in range(num)
    ]


def equal_models(random: np.random.Generator, num_rows: int) -> np.ndarray:
    """Each is wrong alone on 4 % of the rows."""
    return random.choice([-1, 0, 1], p=[0.04, 0.92, 0.04], size=num_rows)


def worse_in(random: np.random.Generator, loss: np.ndarray, rows: np.ndarray, *, by: float) -> np.ndarray:
    return np.where(rows & (random.random(len(loss)) < by), 1, loss)


def test_a_planted_pair_of_conditions_is_found_with_its_loss_and_nothing_beside() -> None:
    random = np.random.default_rng(1)
    divided = columns(random, 20_000)
    bad = (divided[0].code_N == 1) & (divided[3].code_N == 2)
    found = find_worse(worse_in(random, equal_models(random, 20_000), bad, by=0.1), divided, confidence=CONFIDENCE)
    assert [each.conditions for each in found.slices] == [("c0 is 1", "c3 is 2")]
    (only,) = found.slices
    assert 0 < only.loss_min < only.loss and only.loss == pytest.approx(0.1, abs=0.05)
    assert abs(only.num_rows - bad.sum() / 2) < 80, "the half that was not searched"
    assert found.num_looked_at == 12 * 4 + 66 * 16


def test_a_bad_condition_is_not_told_again_by_its_parts_and_by_what_holds_it() -> None:
    random = np.random.default_rng(12)
    divided = columns(random, 20_000)
    bad = divided[5].code_N == 0
    found = find_worse(worse_in(random, equal_models(random, 20_000), bad, by=0.1), divided, confidence=CONFIDENCE)
    assert [each.conditions for each in found.slices] == [("c5 is 0",)]


def test_two_bad_parts_are_two() -> None:
    random = np.random.default_rng(3)
    divided = columns(random, 30_000)
    loss = equal_models(random, 30_000)
    for column in (2, 7):
        loss = worse_in(random, loss, divided[column].code_N == 3, by=0.1)
    found = find_worse(loss, divided, confidence=CONFIDENCE)
    assert {each.conditions for each in found.slices} == {("c2 is 3",), ("c7 is 3",)}


def test_numbers_are_searched_too() -> None:
    random = np.random.default_rng(4)
    divided = columns(random, 10_000)
    loss = random.normal(size=10_000) + 0.5 * (divided[1].code_N == 1)
    assert [each.conditions for each in find_worse(loss, divided, confidence=CONFIDENCE).slices] == [("c1 is 1",)]


@pytest.mark.parametrize("num_rows", [0, 1, ROWS_MIN, 4 * ROWS_MIN])
def test_few_rows_prove_nothing_and_break_nothing(num_rows: int) -> None:
    random = np.random.default_rng(5)
    loss = np.ones(num_rows, dtype=np.int64)
    found = find_worse(loss, columns(random, num_rows), confidence=CONFIDENCE)
    assert num_rows > 2 * ROWS_MIN or found.slices == ()
    assert find_worse(loss, [], confidence=CONFIDENCE).slices == ()


def test_the_same_rows_give_the_same_parts() -> None:
    random = np.random.default_rng(6)
    divided, loss = columns(random, 5_000), random.normal(size=5_000)
    assert find_worse(loss, divided, confidence=CONFIDENCE) == find_worse(loss, divided, confidence=CONFIDENCE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["right-or-wrong", "numbers"])
def test_of_equally_good_models_few_are_called_worse_anywhere(kind: str) -> None:
    """At most 5 %, and twice the standard error of this simulation; `benchmarks.gate` has more of it."""
    num_flagged = 0
    for run in range(NULL_RUNS):
        random = np.random.default_rng(run)
        divided = columns(random, 1_000, num=8, size=6)
        loss = equal_models(random, 1_000) if kind == "right-or-wrong" else random.standard_t(5, size=1_000)
        num_flagged += bool(find_worse(loss, divided, confidence=CONFIDENCE).slices)
    share = num_flagged / NULL_RUNS
    assert share <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / NULL_RUNS), share
