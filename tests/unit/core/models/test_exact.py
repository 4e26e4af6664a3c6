"""Shares and gains: what is said of a chance holds for any number of rows, proven by summing over all outcomes."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.models.exact import chance_of_gain, share_bounds


@pytest.mark.parametrize(
    ("num", "total", "low", "high"),
    [
        pytest.param(0, 10, 0.0, 1 - 0.05**0.1, id="none"),
        pytest.param(10, 10, 0.05**0.1, 1.0, id="all"),
        pytest.param(0, 0, 0.0, 1.0, id="no-rows-say-nothing"),
    ],
)
def test_bounds_of_a_share_at_the_ends(num, total, low, high):
    assert share_bounds(num, total, confidence=0.95) == pytest.approx((low, high))


@given(st.integers(0, 30), st.integers(1, 30), st.floats(0.6, 0.999))
def test_the_bounds_hold_as_often_as_they_say(num, total, confidence):
    """At the very bound a number as far out as the one seen has the chance 1 - confidence."""
    num = min(num, total)
    low, high = share_bounds(num, total, confidence=confidence)
    assert low <= num / total <= high
    if num:
        as_many = sum(comb(total, k) * low**k * (1 - low) ** (total - k) for k in range(num, total + 1))
        assert as_many == pytest.approx(1 - confidence, abs=1e-6)


def test_a_number_that_is_no_part_is_refused():
    with pytest.raises(ValueError, match="5 of 4"):
        share_bounds(5, 4, confidence=0.9)


def level_kept(num_rows: int, better: float, worse: float, *, level: float) -> float:
    """The true chance to be called no worse than `worse - better` wrongly: over all outcomes of so many rows."""
    total = 0.0
    for ups in range(num_rows + 1):
        for downs in range(num_rows + 1 - ups):
            if chance_of_gain(ups, downs, num_rows, loss=worse - better, level=level) <= level:
                ways = comb(num_rows, ups) * comb(num_rows - ups, downs)
                total += ways * better**ups * worse**downs * (1 - better - worse) ** (num_rows - ups - downs)
    return total


@pytest.mark.parametrize("level", [0.3, 0.05, 0.002])
@pytest.mark.parametrize(
    ("better", "worse"), [(0.0, 0.1), (0.05, 0.15), (0.2, 0.4), (0.0, 0.5), (0.1, 0.1), (0.0, 0.02)]
)
def test_a_worse_challenger_passes_no_oftener_than_the_level(better, worse, level):
    assert level_kept(16, better, worse, level=level) <= level


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(80, 5_000), st.floats(0.005, 0.2))
def test_more_gain_has_less_chance_and_a_chance_is_one(better, worse, num_rows, loss):
    chance = chance_of_gain(better, worse, num_rows, loss=loss, level=0.01)
    assert 0 < chance <= 1
    assert chance_of_gain(better, worse, num_rows, loss=loss + 0.05, level=0.01) <= chance + 1e-9


def test_of_many_rows_it_is_what_the_normal_law_says():
    """100,000 rows, 3 % each way: the standard error of the difference is 0.0775 %."""
    chance = chance_of_gain(3_000, 3_000, 100_000, loss=0.003, level=1e-4)
    assert 5e-5 < chance < 4e-4, chance  # 3.87 standard errors: 5.4e-5 at the seen share of differing rows


def test_few_rows_without_a_difference_prove_little():
    """60 rows on which both agree: where only 3 % differ, all for the worse, that has the chance 0.97 ** 60 = 16 %."""
    assert chance_of_gain(0, 0, 60, loss=0.03, level=0.05) > 0.97**60
    assert np.isclose(chance_of_gain(0, 0, 10, loss=1.0, level=0.05), 0.005), "all rows would differ"
