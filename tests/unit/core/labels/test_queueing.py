"""The ranking of what to label next: its random share, its order, and what holds for any pool."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.labels.points import points_of
from ratchet.core.labels.queueing import STRATEGIES, Pool, farthest_first, margins_of, pick_next, standardised
from tests.unit.core.labels.formats.reading import FLIGHTS, MAILS, PETS

pytestmark = pytest.mark.slow

NUM = 200


def ids_of(num: int, start: int = 0) -> list[str]:
    return [f"example-{number}" for number in range(start, start + num)]


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    num = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    uncertainty_B = np.where(rng.random(num) < 0.2, np.nan, rng.random(num))
    return Pool(
        ids_of(num),
        draw(st.sampled_from([None, uncertainty_B, np.full(num, np.nan)])),
        draw(st.sampled_from([None, rng.normal(size=(num, 3)).astype(np.float32), np.zeros((num, 2), np.float32)])),
        draw(st.sampled_from([None, [f"class-{number % 3}" for number in range(num)]])),
        draw(st.sampled_from([None, rng.random(num) < 0.3])),
    )


@settings(max_examples=100, deadline=None)
@given(pool=pools(), size=st.integers(0, 60), strategy=st.sampled_from(STRATEGIES), seed=st.integers(0, 3))
def test_a_queue_has_no_duplicates_and_is_the_same_each_time(pool, size, strategy, seed):
    picks = pick_next(pool, size=size, strategy=strategy, seed=seed)
    rows = [pick.row for pick in picks]
    assert len(set(rows)) == len(rows) <= min(size, len(pool.ids))
    assert picks == pick_next(pool, size=size, strategy=strategy, seed=seed)
    if strategy != "disagreement" and pool.is_tied_B is None:
        assert len(rows) == min(size, len(pool.ids)), "a queue is full while there are candidates"
    tied = np.zeros(len(pool.ids), bool) if pool.is_tied_B is None else pool.is_tied_B
    assert all((pick.reason == "disagreement") == tied[pick.row] for pick in picks)


@settings(max_examples=50, deadline=None)
@given(pool=pools(), strategy=st.sampled_from(STRATEGIES), seed=st.integers(0, 3))
def test_the_order_of_the_candidates_does_not_matter(pool, strategy, seed):
    order = np.random.default_rng(0).permutation(len(pool.ids))
    turned = Pool(
        [pool.ids[place] for place in order],
        None if pool.uncertainty_B is None else pool.uncertainty_B[order],
        None if pool.points_BD is None else pool.points_BD[order],
        None if pool.answers is None else [pool.answers[place] for place in order],
        None if pool.is_tied_B is None else pool.is_tied_B[order],
    )
    first = [pool.ids[pick.row] for pick in pick_next(pool, size=10, strategy=strategy, seed=seed)]
    second = [turned.ids[pick.row] for pick in pick_next(turned, size=10, strategy=strategy, seed=seed)]
    assert first == second


@pytest.mark.parametrize("strategy", [each for each in STRATEGIES if each != "disagreement"])
def test_the_audit_share_is_drawn_without_a_look_at_any_score(strategy):
    """Over 400 seeds each candidate is audited about as often as any other, whatever its score is."""
    rng = np.random.default_rng(1)
    uncertainty_B = np.linspace(0, 1, NUM)
    points_BD = rng.normal(size=(NUM, 2)).astype(np.float32)
    pool = Pool(ids_of(NUM), uncertainty_B, points_BD)
    num_audited = np.zeros(NUM)
    for seed in range(400):
        audited = [pick.row for pick in pick_next(pool, size=50, strategy=strategy, seed=seed) if pick.is_audit]
        assert len(audited) == 5
        num_audited[audited] += 1
    share = 5 / NUM
    spread = 4 * np.sqrt(400 * share * (1 - share) * (NUM / 2))
    for half in (num_audited[: NUM // 2].sum(), num_audited[NUM // 2 :].sum()):
        assert abs(half - 400 * share * NUM / 2) < spread
    assert abs(np.corrcoef(num_audited, uncertainty_B)[0, 1]) < 4 / np.sqrt(NUM)


def test_no_score_changes_who_is_audited():
    pools_of = [Pool(ids_of(NUM), scores) for scores in (np.linspace(0, 1, NUM), np.linspace(1, 0, NUM), None)]
    audited = [{pick.row for pick in pick_next(pool, size=40) if pick.is_audit} for pool in pools_of]
    assert audited[0] == audited[1] == audited[2] and len(audited[0]) == 4


def test_audited_examples_are_spread_over_the_queue():
    picks = pick_next(Pool(ids_of(NUM), np.linspace(0, 1, NUM)), size=100, strategy="margin")
    places = [place for place, pick in enumerate(picks) if pick.is_audit]
    assert len(places) == 10 and all(10 * number <= place < 10 * (number + 1) for number, place in enumerate(places))


def test_the_least_sure_come_first_and_the_unknown_last():
    uncertainty_B = np.array([0.1, np.nan, 0.9, 0.5])
    picks = pick_next(Pool(ids_of(4), uncertainty_B), size=4, strategy="margin", audit_share=0)
    assert [pick.row for pick in picks] == [2, 3, 0, 1]


def test_auto_asks_again_about_ties_for_a_fifth_of_the_queue():
    is_tied_B = np.arange(NUM) < 50
    picks = pick_next(Pool(ids_of(NUM), np.linspace(0, 1, NUM), is_tied_B=is_tied_B), size=100)
    assert sum(pick.reason == "disagreement" for pick in picks) == 18, "a fifth of what is not audited"
    again = pick_next(Pool(ids_of(NUM), is_tied_B=is_tied_B), size=100, strategy="disagreement", audit_share=0)
    assert {pick.row for pick in again} == set(range(50))


def test_coverage_without_distances_takes_each_answer_in_turn():
    answers = ["a"] * 90 + ["b"] * 5 + ["c"] * 5
    picks = pick_next(Pool(ids_of(100), answers=answers), size=12, strategy="coverage", audit_share=0)
    assert sorted(answers[pick.row] for pick in picks) == ["a"] * 4 + ["b"] * 4 + ["c"] * 4


def test_the_farthest_point_is_next():
    points_BD = np.array([[0.0], [0.1], [10.0], [-10.0], [10.1]], dtype=np.float32)
    assert set(farthest_first(points_BD, 3)[:1]) <= {0, 1} and set(farthest_first(points_BD, 3)[1:]) in ({3, 4}, {3, 2})
    assert sorted(farthest_first(np.zeros((4, 2), np.float32), 9)) == [0, 1, 2, 3], "equal points are taken once each"


def test_a_margin_is_one_at_a_tie_and_zero_at_certainty():
    assert margins_of(np.array([[0.5, 0.5, 0], [1.0, 0, 0], [0.6, 0.3, 0.1]])) == pytest.approx([1.0, 0.0, 0.7])


def test_what_is_missing_counts_as_the_mean():
    points_BD = standardised(np.array([[1.0, 5.0], [np.nan, 5.0], [3.0, 5.0]]))
    assert points_BD.tolist() == [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]


def test_any_inputs_are_points_and_pictures_are_none():
    odd: list[dict[str, Any]] = [
        {"miles": 5, "night": True, "start": "2026-01-01T00:00:00Z", "shape": [1, 2]},
        {"miles": "x", "shape": [1]},
        {},
    ]
    points_BD = points_of(odd, FLIGHTS)
    assert points_BD is not None and points_BD.shape == (3, 5) and np.isfinite(points_BD).all()
    near = points_of([{"text": "cheap pills"}, {"text": "pills, cheap"}, {"text": "see you at noon"}], MAILS)
    assert near is not None and np.allclose(near[0], near[1]) and not np.allclose(near[0], near[2])
    assert points_of([{"picture": "s3://x/a.png"}], PETS) is None
