"""The champion against its own past: what raises no alarm, what does, and how the past is used."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.rollout.guard import GuardPolicy, Vigil, add_window, judge_policy_of, thinned
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.window import ArmWindow

pytestmark = pytest.mark.slow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = GuardPolicy(past_requests=1_000, past_windows=20, window_s=10)
JUDGE = judge_policy_of(RolloutPolicy())


def vigil() -> Vigil:
    return Vigil(revision="digits-00001", began_at=NOON)


def watch(seen: Vigil, error_ratios, *, num_requests=100, seed=1, is_ready=True) -> Vigil:
    """One window for each error ratio."""
    draw = np.random.default_rng(seed)
    for number, ratio in enumerate(error_ratios, 1):
        window = ArmWindow(num_requests=num_requests, num_errors=int(draw.binomial(num_requests, ratio)))
        at_s = number * POLICY.window_s
        seen, _ = add_window(seen, window, at_s=at_s, is_ready=is_ready, policy=POLICY, rollout=JUDGE)
    return seen


def test_it_learns_before_it_compares():
    assert watch(vigil(), [0.0] * 19).state == "learning"
    assert watch(vigil(), [0.0] * 20).state == "well"
    assert watch(vigil(), [0.0] * 20, num_requests=10).state == "learning", "200 of 1,000 requests"


def test_a_champion_that_stays_as_it_was_is_left_alone():
    assert watch(vigil(), [0.01] * 600).state == "well"


@pytest.mark.parametrize("ratio", [pytest.param(0.3, id="third-of-requests"), pytest.param(1.0, id="all-requests")])
def test_a_champion_that_begins_to_fail_is_found_worse(ratio):
    assert watch(vigil(), [0.005] * 30 + [ratio] * 60).state == "worse"


def test_worse_is_final():
    worse = watch(vigil(), [0.005] * 30 + [1.0] * 60)
    assert watch(worse, [0.0] * 50) == worse


def test_a_short_burst_does_not_condemn():
    assert watch(vigil(), [0.002] * 40 + [0.2] + [0.002] * 40).state != "worse"


def test_the_past_is_used_once_and_then_replaced():
    first = watch(vigil(), [0.0] * 20)
    assert (len(first.past), len(first.fresh)) == (20, 0)
    half = watch(first, [0.0] * 10)
    assert (len(half.past), len(half.fresh)) == (10, 10)
    turned = watch(half, [0.0] * 10)
    assert (len(turned.past), len(turned.fresh)) == (20, 0)
    assert turned.progress is not None and turned.progress.total.canary.num_requests == 0, "the evidence begins anew"


def test_a_champion_without_requests_proves_nothing():
    learnt = watch(vigil(), [0.0] * 20)
    assert watch(learnt, [0.0] * 100, num_requests=0) == learnt


def test_a_champion_that_is_dead_before_anybody_asks_it_costs_no_memory():
    assert watch(vigil(), [0.0] * 1_000, num_requests=0, is_ready=False) == vigil()


def test_memory_survives_a_restart_bit_for_bit():
    once = watch(vigil(), [0.01] * 30)
    again = Vigil.model_validate_json(once.model_dump_json())
    assert watch(once, [0.05] * 5, seed=7) == watch(again, [0.05] * 5, seed=7)


@given(
    num=st.integers(1, 500), bad=st.floats(0, 1), timed=st.floats(0, 1), late=st.floats(0, 1), slow=st.floats(0, 1),
    size=st.integers(0, 500), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_a_thinned_window_is_a_part_of_it(num, bad, timed, late, slow, size, seed):
    num_timed = int(num * timed)
    num_late = int(num_timed * late)
    whole = ArmWindow(
        num_requests=num,
        num_errors=int(num * bad),
        num_timed=num_timed,
        num_late=num_late,
        num_slow=int(num_late * slow),
    )
    part = thinned(whole, size, seed=(seed,))
    assert part.num_requests == min(size, num)
    assert part.num_errors <= min(whole.num_errors, part.num_requests)
    assert part.num_slow <= part.num_late <= part.num_timed <= whole.num_timed
    assert part == thinned(whole, size, seed=(seed,))


def test_nothing_of_a_suspected_time_becomes_the_past():
    suspect = watch(watch(vigil(), [0.005] * 30), [0.06] * 8, seed=3)
    assert suspect.state in {"suspect", "worse"}
    num_good = len(suspect.fresh)
    later = watch(suspect, [0.06] * 100, seed=4)
    assert later.state in {"suspect", "worse"}, "what is bad for long is not taken for normal"
    assert len(later.past) + len(later.fresh) <= num_good
