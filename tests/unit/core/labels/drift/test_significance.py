"""p-values: those of scipy where it has them, and none too small where it has none."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import kolmogorov
from scipy.stats import chi2_contingency, fisher_exact, ks_2samp

from ratchet.core.labels.drift.distances import distances
from ratchet.core.labels.drift.features import REPRESENTED_WIDTH_MAX, features_of_representation
from ratchet.core.labels.drift.significance import (
    EXPECTED_MIN,
    detectable_effect,
    judge_by_classifier,
    p_of_counts,
    p_of_distance,
    p_of_shares,
    p_of_unseen,
    pooled_rare,
)
from ratchet.core.labels.drift.sketches import number_sketch_of


def p_of(old: np.ndarray, new: np.ndarray) -> float:
    widest, _, pooled = distances(number_sketch_of(old), number_sketch_of(new))
    return p_of_distance(widest, num_old=len(old), num_new=len(new), pooled_G=pooled)


def test_without_ties_it_is_the_exact_distribution() -> None:
    random = np.random.default_rng(0)
    for shift in (0.0, 0.2, 0.5):
        old, new = random.normal(size=120), random.normal(shift, size=90)
        assert p_of(old, new) == pytest.approx(ks_2samp(old, new, method="exact").pvalue, rel=1e-6)


@pytest.mark.parametrize("values", [(0, 0, 1, 1, 2, 2, 2), (0, 0, 0, 1, 1, 1, 1), (0, 1, 2, 3, 4, 5, 6)])
def test_with_ties_it_is_the_share_of_all_orders(values: tuple[int, ...]) -> None:
    """Every way to call three of seven rows the new ones."""
    whole = np.array(values, float)

    def gap(new_places: tuple[int, ...]) -> float:
        new = np.isin(np.arange(7), new_places)
        return distances(number_sketch_of(whole[~new]), number_sketch_of(whole[new]))[0]

    gaps = np.array([gap(places) for places in itertools.combinations(range(7), 3)])
    seen = gap((4, 5, 6))
    new = np.isin(np.arange(7), (4, 5, 6))
    assert p_of(whole[~new], whole[new]) == pytest.approx((gaps >= seen - 1e-9).mean())


@pytest.mark.parametrize("num_levels", [2, 6, 40])
def test_with_many_rows_and_ties_it_is_that_of_a_simulation(num_levels: int) -> None:
    """The distribution without ties would be 2 to 20 times too careful."""
    random = np.random.default_rng(1)
    shares = random.dirichlet(np.full(num_levels, 3.0))
    old, new = (random.multinomial(size, shares, size=40_000) for size in (3_000, 2_000))
    gaps = np.abs(np.cumsum(old, axis=1) / 3_000 - np.cumsum(new, axis=1) / 2_000).max(axis=1)
    for chance in (0.1, 0.01):
        wide = float(np.quantile(gaps, 1 - chance))
        found = p_of_distance(wide, num_old=3_000, num_new=2_000, pooled_G=np.cumsum(shares))
        assert found == pytest.approx(chance, rel=0.15)
        assert found < kolmogorov(wide * np.sqrt(1_200))


def test_a_wider_gap_is_less_likely_with_each_method() -> None:
    for num, pooled in (
        (300, np.linspace(0.1, 1, 10)),
        (30_000, np.linspace(0.1, 1, 10)),
        (30_000, np.linspace(0, 1, 999)),
    ):
        found = [p_of_distance(gap, num_old=num, num_new=num, pooled_G=pooled) for gap in np.linspace(0, 1, 21)]
        assert found[0] == 1.0 and all(one >= other > 0 for one, other in itertools.pairwise(found))


def test_counts_are_compared_as_scipy_does_and_rare_ones_together() -> None:
    old, new = np.array([500.0, 300, 200]), np.array([180.0, 150, 70])
    assert p_of_counts(old, new) == pytest.approx(chi2_contingency([old, new], correction=False).pvalue)
    table = pooled_rare(np.array([500.0, 300, *np.ones(40)]), np.array([200.0, 150, *np.zeros(40)]))
    assert table.shape == (2, 3) and table.sum() == 1190
    assert p_of_counts(np.array([9.0, 0]), np.array([0.0, 0])) == 1.0


def test_an_error_of_the_counts_is_no_difference() -> None:
    old, new = np.array([5_000.0, 5_000]), np.array([5_100.0, 4_900])
    assert p_of_counts(old, new) < 0.2
    assert p_of_counts(old, new, error_old=50, error_new=50) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("table", "few"), [((5, 200, 9, 90), True), ((0, 300, 4, 100), True), ((500, 2000, 300, 900), False)]
)
def test_shares_are_compared_exactly_when_few_and_by_chi_square_when_many(table: tuple[int, ...], few: bool) -> None:
    some_old, num_old, some_new, num_new = table
    counts = [[some_old, num_old - some_old], [some_new, num_new - some_new]]
    expected = fisher_exact(counts).pvalue if few else chi2_contingency(counts, correction=False).pvalue
    assert p_of_shares(*table) == pytest.approx(expected, rel=1.0 if few else 1e-9)
    assert p_of_shares(*table) >= expected - 1e-12


def pair_of_levels(random: np.random.Generator) -> float:
    shares = random.dirichlet(np.full(60, 0.3))
    return p_of_counts(*(random.multinomial(size, shares).astype(float) for size in (700, 150)))


def pair_of_unseen(random: np.random.Generator) -> float:
    old, new = (random.zipf(1.6, size=size) for size in (600, 300))
    names, counts = np.unique(old, return_counts=True)
    unseen = int(np.count_nonzero(~np.isin(new, names)))
    return p_of_unseen(int((counts == 1).sum()), int((counts == 2).sum()), 600, unseen, 300)


def pair_of_features(random: np.random.Generator) -> float:
    return judge_by_classifier(random.normal(size=(120, 8)), random.normal(size=(60, 8)))[1]


def pair_of_representations(random: np.random.Generator) -> float:
    """Of two samples of one distribution, as a layer of a random network takes them: most numbers are often zero."""
    layer = random.normal(size=(12, 24))
    sides = [np.maximum(random.standard_t(3, size=(num, 12)) @ layer - 2, 0) for num in (150, 80)]
    return judge_by_classifier(*map(features_of_representation, sides))[1]


def pair_of_held_out(random: np.random.Generator) -> float:
    """As a champion sees them that knows each of its training rows by heart."""
    _, held_out, new = memorized(random)
    return judge_by_classifier(held_out, new)[1]


def memorized(random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(training rows, accepted rows of val and test, new rows): features that grow near a training row."""
    learned = random.normal(size=(100, 4))
    sides = (learned, random.normal(size=(90, 4)), random.normal(size=(90, 4)))
    near = [np.exp(-((side[:, None] - learned[None]) ** 2).sum(axis=2)).max(axis=1) for side in sides]
    return tuple(features_of_representation(np.column_stack(pair)) for pair in zip(sides, near, strict=True))


def test_the_rows_that_a_champion_learned_are_told_from_any_others() -> None:
    """Why drift_check compares new rows with accepted ones of val and test."""
    learned, _, new = memorized(np.random.default_rng(0))
    assert judge_by_classifier(learned, new)[1] < 1e-6


def test_a_wide_representation_is_projected_and_what_is_no_number_is_none() -> None:
    wide = np.random.default_rng(0).normal(size=(400, 1_000)).astype(np.float32)
    moved = wide + np.float32(0.3)
    wide[0, 0] = np.nan
    old, new = features_of_representation(wide), features_of_representation(moved)
    assert old.shape == (400, REPRESENTED_WIDTH_MAX + 1) and np.isfinite(old).all()
    assert judge_by_classifier(old[:200], new[200:])[1] < 1e-6


def pair_of_shares(random: np.random.Generator) -> float:
    return p_of_shares(int(random.binomial(400, 0.03)), 400, int(random.binomial(100, 0.03)), 100)


PAIRS = (
    *(pair_of_levels, pair_of_unseen, pair_of_features),
    *(pair_of_representations, pair_of_held_out, pair_of_shares),
)


@pytest.mark.slow
@pytest.mark.parametrize("draw", PAIRS)
def test_without_drift_small_p_values_are_as_rare_as_they_say(draw: Callable[[np.random.Generator], float]) -> None:
    random = np.random.default_rng(2)
    found = np.array([draw(random) for _ in range(300)])
    for chance in (0.2, 0.05, 0.01):
        most = chance + 3 * np.sqrt(chance * (1 - chance) / len(found))
        assert (found <= chance).mean() <= most, chance


def test_a_classifier_sees_what_moves_and_what_widens() -> None:
    random = np.random.default_rng(3)
    old = random.normal(size=(600, 20))
    moved, wider = random.normal(size=(400, 20)), random.normal(size=(400, 20))
    moved[:, 3] += 0.8
    wider[:, 5] *= 2
    for new in (moved, wider):
        area, p_value = judge_by_classifier(old, new)
        assert area > 0.6 and p_value < 1e-5
    assert judge_by_classifier(np.zeros((100, 3)), np.zeros((100, 3))) == (0.5, 1.0)


@pytest.mark.parametrize("test", ["distribution", "levels", "share", "classifier"])
def test_more_rows_show_smaller_effects(test) -> None:
    found = [
        detectable_effect(test, num_old=10_000, num_new=num, num_levels=5, p_value=1e-4, power=0.8)
        for num in (0, 10, 100, 1_000, 10_000)
    ]
    assert found[0] == 1.0 and all(one > other for one, other in itertools.pairwise(found[1:]))


def test_what_is_called_detectable_is_detected() -> None:
    """A share that moves by it is seen in 80 % of the trials at least, at the p-value it was computed for."""
    random = np.random.default_rng(4)
    shift = detectable_effect("share", num_old=2_000, num_new=400, num_levels=2, p_value=1e-3, power=0.8)
    found = [
        p_of_shares(int(random.binomial(2_000, 0.5)), 2_000, int(random.binomial(400, 0.5 + shift)), 400) <= 1e-3
        for _ in range(300)
    ]
    assert np.mean(found) >= 0.75
    assert EXPECTED_MIN == 10
