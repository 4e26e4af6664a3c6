"""Equal features by chance are told from copies."""

from functools import cache

import numpy as np
import pytest

from ratchet.core.labels.coincidence import agreement_by_chance


@cache
def survey() -> np.ndarray:
    from statsmodels.datasets import fair

    return fair.load_pandas().data.drop(columns="affairs").sample(frac=1, random_state=7).to_numpy()


@cache
def health() -> np.ndarray:
    from statsmodels.datasets import randhie

    return randhie.load_pandas().data.drop(columns="mdvis").to_numpy()


@cache
def digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().data


def independent() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, (1000, 5)).astype(float)


def equal_pairs_of(table: np.ndarray) -> int:
    counts = np.unique(table, axis=0, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def expected_pairs_of(table: np.ndarray) -> float:
    return agreement_by_chance(table) * len(table) * (len(table) - 1) / 2


@pytest.mark.parametrize(
    "table_of",
    [
        pytest.param(lambda: survey()[:500], id="survey-500"),
        pytest.param(lambda: survey()[:2000], id="survey-2000"),
        pytest.param(survey, id="survey-all"),
        pytest.param(lambda: health()[:3000], id="health"),
        pytest.param(
            lambda: np.random.default_rng(0).integers(0, 4, (1000, 5)).astype(float), id="independent-categories"
        ),
    ],
)
def test_the_equal_rows_of_an_honest_table_are_expected(table_of):
    table = table_of()
    assert equal_pairs_of(table) < 1.25 * expected_pairs_of(table)


def test_a_part_of_a_table_tells_of_the_whole():
    assert agreement_by_chance(survey()[:500]) == pytest.approx(agreement_by_chance(survey()), rel=0.6)


def test_no_copy_of_a_scan_is_expected():
    assert agreement_by_chance(np.concatenate([digits(), digits()[:100]])) == 0.0


def test_copies_in_a_table_do_not_excuse_themselves():
    table = survey()[:2000]
    with_copies = np.concatenate([table, table[:600]])
    assert equal_pairs_of(with_copies) > 1.8 * expected_pairs_of(with_copies)


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(np.empty((0, 3)), id="no-rows"),
        pytest.param(np.ones((1, 3)), id="one-row"),
        pytest.param(np.arange(12.0).reshape(4, 3), id="no-equal-rows"),
        pytest.param(np.ones((5, 2)), id="constant-columns-are-copies"),
    ],
)
def test_without_near_pairs_none_is_expected(table):
    assert agreement_by_chance(table) == 0.0
