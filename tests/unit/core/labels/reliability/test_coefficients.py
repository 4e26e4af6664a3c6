"""The coefficients against the worked examples of their sources, and against two libraries."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as peer_fleiss_kappa

from ratchet.core.labels.reliability.coefficients import (
    cohen_kappa,
    fleiss_kappa,
    interval_alpha,
    krippendorff_alpha,
)

KRIPPENDORFF_2011 = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
"""Section C: four observers, twelve units, seven values missing."""
FLEISS_TABLE = np.array([[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0],
                         [2, 2, 8, 1, 1], [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2],
                         [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]])  # fmt: skip
"""Fourteen raters of ten subjects: the example of many textbooks, kappa 0.210."""


def pairable() -> tuple[np.ndarray, np.ndarray, int]:
    """Values and their units, of the units with two values or more."""
    rows = [line.split() for line in KRIPPENDORFF_2011.strip().splitlines()]
    units = [[float(row[unit]) for row in rows if row[unit] != "."] for unit in range(12)]
    kept = [values for values in units if len(values) > 1]
    return np.concatenate(kept), np.repeat(np.arange(len(kept)), [len(each) for each in kept]), len(kept)


def counted(values_N: np.ndarray, units_N: np.ndarray, num: int) -> tuple[sparse.csr_array, np.ndarray]:
    names, codes_N = np.unique(values_N, return_inverse=True)
    counts = np.zeros((num, len(names)))
    np.add.at(counts, (units_N, codes_N), 1)
    return sparse.csr_array(counts), counts.sum(axis=1)


def one_hot(codes_N: np.ndarray, num_classes: int) -> sparse.csr_array:
    return sparse.csr_array(np.eye(num_classes)[codes_N])


def test_krippendorffs_own_example() -> None:
    values_N, units_N, num = pairable()
    nominal = krippendorff_alpha(*counted(values_N, units_N, num)).whole
    interval = interval_alpha(values_N, units_N, num)
    assert nominal is not None and interval is not None
    assert (round(nominal.value, 3), round(interval.value, 3)) == (0.743, 0.849)
    assert nominal.num_examples == interval.num_examples == 11
    assert 0 < nominal.low < 0.743 < nominal.high <= 1 and interval.low < 0.849 < interval.high <= 1


def test_alpha_of_numbers_is_the_same_in_any_unit() -> None:
    values_N, units_N, num = pairable()
    for factor, zero in ((1e-9, 0.0), (3e307, -1e308), (1.0, 1e9)):
        scaled = interval_alpha(values_N * factor + zero, units_N, num)
        assert scaled is not None and scaled.value == pytest.approx(0.849, abs=1e-3), (factor, zero)


def test_fleiss_kappa_of_the_textbook_table_and_of_its_classes() -> None:
    found = fleiss_kappa(sparse.csr_array(FLEISS_TABLE.astype(float)), FLEISS_TABLE.sum(axis=1))
    assert found.whole is not None and round(found.whole.value, 3) == 0.21
    for place, of_class in enumerate(found.by_class):
        assert of_class is not None
        alone = np.stack([FLEISS_TABLE[:, place], 14 - FLEISS_TABLE[:, place]], axis=1)
        assert of_class.value == pytest.approx(peer_fleiss_kappa(alone), abs=1e-6)


@pytest.mark.parametrize(("num_classes", "num_raters", "noise"), [(2, 3, 0.1), (5, 2, 0.4), (40, 6, 0.9)])
def test_the_libraries_say_the_same(num_classes: int, num_raters: int, noise: float) -> None:
    draw = np.random.default_rng(num_classes)
    truth = draw.integers(0, num_classes, size=300)
    said = np.where(
        draw.random((num_raters, 300)) < noise, draw.integers(0, num_classes, size=(num_raters, 300)), truth
    )
    counts = np.stack([(said == each).sum(axis=0) for each in range(num_classes)], axis=1).astype(float)
    fleiss = fleiss_kappa(sparse.csr_array(counts), counts.sum(axis=1)).whole
    assert fleiss is not None and fleiss.value == pytest.approx(peer_fleiss_kappa(counts), abs=1e-6)
    cohen = cohen_kappa(one_hot(said[0], num_classes), one_hot(said[1], num_classes)).whole
    assert cohen is not None and cohen.value == pytest.approx(cohen_kappa_score(said[0], said[1]), abs=1e-6)


def test_the_bounds_hold_the_true_value_about_as_often_as_they_say() -> None:
    """Two labelers who are right on 80 % of four balanced classes, and guess the rest among the others."""
    true_agreement, num_held, num_runs = 0.8**2 + 0.2**2 / 3, 0, 120
    true_kappa = (true_agreement - 0.25) / 0.75
    for seed in range(num_runs):
        draw = np.random.default_rng(seed)
        truth = draw.integers(0, 4, size=150)
        said = (truth + (draw.random((2, 150)) < 0.2) * draw.integers(1, 4, size=(2, 150))) % 4
        found = cohen_kappa(one_hot(said[0], 4), one_hot(said[1], 4), resamples=200).whole
        assert found is not None
        num_held += found.low <= true_kappa <= found.high
    assert 0.88 * num_runs <= num_held


def test_one_class_alone_has_no_agreement_beyond_chance() -> None:
    same = sparse.csr_array(np.full((30, 1), 3.0))
    assert krippendorff_alpha(same, np.full(30, 3)).whole is None
    assert fleiss_kappa(same, np.full(30, 3)).whole is None
    assert interval_alpha(np.full(60, 2.5), np.repeat(np.arange(30), 2), 30) is None
    nothing = sparse.csr_array((0, 2))
    assert krippendorff_alpha(nothing, np.zeros(0)).whole is None
    assert cohen_kappa(nothing, nothing).whole is None


def test_perfect_agreement_is_one_and_the_same_labels_give_the_same_bounds() -> None:
    codes_N = np.arange(60) % 3
    assert (
        cohen_kappa(one_hot(codes_N, 3), one_hot(codes_N, 3)).whole
        == cohen_kappa(one_hot(codes_N, 3), one_hot(codes_N, 3)).whole
    )
    found = cohen_kappa(one_hot(codes_N, 3), one_hot(codes_N, 3)).whole
    assert found is not None and (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
