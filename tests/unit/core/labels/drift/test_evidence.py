"""Evidence of many looks: no more false alarms than promised, on any day, whatever the looks have in common."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chdtrc

from ratchet.core.labels.drift.evidence import (
    DriftEvidence,
    e_value_of,
    look_weight,
    next_look,
    p_value_needed,
    rejected_by_e_values,
)
from ratchet.core.labels.drift.significance import p_of_counts

ALPHA = 0.2


@pytest.mark.slow
def test_the_weights_of_all_looks_sum_to_one() -> None:
    first = sum(look_weight(number) for number in range(1, 200_000))
    tail = 1 / np.log(200_000) / 2.1097428
    assert first + tail == pytest.approx(1, abs=1e-4)


def test_the_mean_of_an_e_value_is_one() -> None:
    edges = np.geomspace(1e-60, 1, 20_000)
    mass = sum((high - low) * e_value_of(float((low + high) / 2)) for low, high in itertools.pairwise(edges))
    assert mass == pytest.approx(1, abs=2e-3)


@given(st.floats(1e-290, 1), st.floats(1e-290, 1))
def test_a_smaller_p_value_is_more_evidence(one: float, other: float) -> None:
    assert (e_value_of(one) >= e_value_of(other)) == (one <= other) or one == pytest.approx(other)


@pytest.mark.parametrize("num_columns", [1, 20, 500])
@pytest.mark.parametrize("number", [1, 365])
def test_the_p_value_needed_is_just_enough(num_columns: int, number: int) -> None:
    needed = p_value_needed(num_columns=num_columns, number=number, alpha=0.01)
    found = []
    for p_value in (needed * 0.99, needed * 1.01):
        e_values = dict.fromkeys(map(str, range(num_columns)), 0.0)
        e_values["0"] = look_weight(number) * e_value_of(p_value)
        found.append(bool(rejected_by_e_values(e_values, alpha=0.01)))
    assert found == [True, False]


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1e6), max_size=12))
def test_more_evidence_never_names_fewer_columns(e_values: dict[str, float]) -> None:
    fewer = rejected_by_e_values(e_values, alpha=0.05)
    more = rejected_by_e_values({name: value * 2 for name, value in e_values.items()}, alpha=0.05)
    assert fewer <= more
    assert all(e_values[name] >= 1 / 0.05 for name in fewer)


def look(
    known: DriftEvidence | None, reference: str, subject: str, *, p: float = 0.5, alarm: bool = False
) -> DriftEvidence:
    found = next_look(known, reference=reference, subject=subject)
    return found.after(found.add({"x": p}), is_alarm=alarm)


def test_a_look_that_is_repeated_counts_once() -> None:
    first = look(None, "v1", "monday")
    second = look(first, "v1", "tuesday", p=0.01)
    assert look(second, "v1", "tuesday", p=0.01) == second
    assert (second.num_looks, second.e_values["x"] > first.e_values["x"]) == (2, True)


def test_another_reference_takes_the_evidence_and_not_the_count_unless_drift_was_found() -> None:
    first = look(None, "v1", "monday", p=1e-9)
    assert look(first, "v2", "tuesday").num_looks == 2
    assert look(first, "v2", "tuesday").before == {}
    assert look(look(None, "v1", "monday", p=1e-9, alarm=True), "v2", "tuesday").num_looks == 1


def alarms_of(num_worlds: int, *, num_days: int, num_columns: int, seed: int) -> tuple[float, float]:
    """Share of worlds without drift in which one of all days raises an alarm: ours, and of a test at ALPHA each day.

    Each world compares every day of 200 rows with the same 400 known ones; 6 categories.
    """
    random = np.random.default_rng(seed)
    shares = np.full(6, 1 / 6)
    old = random.multinomial(400, shares, size=(num_worlds, 1, num_columns)).astype(float)
    new = random.multinomial(200, shares, size=(num_worlds, num_days, num_columns)).astype(float)
    both = old + new
    squares = np.square(old - both * 2 / 3) / (both * 2 / 3) + np.square(new - both / 3) / (both / 3)
    p_values = chdtrc(5, squares.sum(axis=-1))
    assert p_values[0, 3, 0] == pytest.approx(p_of_counts(old[0, 0, 0], new[0, 3, 0]))
    weights = np.array([look_weight(number) for number in range(1, num_days + 1)])
    e_values = np.cumsum(weights[:, None] * np.vectorize(e_value_of)(p_values), axis=1)
    ranked = -np.sort(-e_values, axis=2)
    needed = num_columns / (np.arange(1, num_columns + 1) * ALPHA)
    ours = (ranked >= needed).any(axis=(1, 2)).mean()
    return float(ours), float((p_values.min(axis=2) <= ALPHA / num_columns).any(axis=1).mean())


def test_a_year_of_daily_looks_at_unchanged_data_raises_no_more_alarms_than_promised() -> None:
    ours, daily = alarms_of(100, num_days=365, num_columns=4, seed=0)
    assert ours <= ALPHA
    assert daily >= 0.99, "a test a day is an alarm in every world"


@pytest.mark.slow
def test_so_do_a_thousand_years_of_ten_columns() -> None:
    found = [alarms_of(100, num_days=365, num_columns=10, seed=seed)[0] for seed in range(10)]
    assert np.mean(found) <= ALPHA


def test_a_drift_that_comes_late_and_stays_is_found() -> None:
    known = None
    for day in range(300):
        known = look(known, "v1", str(day))
    found = []
    for day in range(300, 310):
        known = look(known, "v1", str(day), p=1e-12)
        found.append(rejected_by_e_values({**known.e_values, **dict.fromkeys("abcdefghi", 0.0)}, alpha=0.01))
    assert found[0] == {"x"}
