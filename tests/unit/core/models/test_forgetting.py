"""What a challenger lost on the rows that the champion's data had too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.forgetting import check_forgetting
from ratchet.core.models.paired import paired_difference
from ratchet.core.models.slices.columns import SliceColumn, age_column
from tests.unit.core.models.test_evaluation import POLICY

NUM_OLD, NUM_NEW = 200, 50


def reasons_of(loss_N, *, num_old=NUM_OLD, **changes):
    columns = [age_column(np.arange(len(loss_N)) < num_old)]
    return check_forgetting(np.asarray(loss_N), columns, POLICY.model_copy(update=changes))


def losses(num_lost, num_won=0):
    of_old = [1] * num_lost + [-1] * num_won + [0] * (NUM_OLD - num_lost - num_won)
    return np.array(of_old + [-1] * NUM_NEW)


@pytest.mark.parametrize(
    ("loss_N", "passed"),
    [
        pytest.param(losses(0), True, id="nothing-lost"),
        pytest.param(losses(20), True, id="a-loss-of-the-limit-is-not-proved"),
        pytest.param(losses(40), False, id="a-fifth-of-the-old-rows-lost"),
        pytest.param(losses(40, 40), True, id="as-many-won"),
    ],
)
def test_a_proved_loss_on_old_rows_refuses_however_much_is_won_on_new_ones(loss_N, passed):
    (reason,) = reasons_of(loss_N, slice_loss_max=0.1, slice_rows_min=30)
    assert reason.passed is passed, reason.text
    assert "of 250 test rows 200 were in the champion's data" in reason.text


@pytest.mark.parametrize(
    "num_old",
    [
        pytest.param(0, id="none-is-old"),
        pytest.param(10, id="too-few-are-old"),
        pytest.param(NUM_OLD + NUM_NEW, id="all-are-old"),
    ],
)
def test_nothing_is_said_where_there_are_no_two_kinds_of_rows(num_old):
    assert reasons_of(losses(40), num_old=num_old, slice_rows_min=30) == []


def test_nothing_is_said_where_the_ages_are_not_known():
    other = SliceColumn(("a is 1", "a is 2"), np.zeros(250, dtype=np.int32))
    assert check_forgetting(losses(40), [other], POLICY) == []


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=40, max_size=120))
def test_right_and_wrong_answers_have_the_bound_of_a_class(loss_M):
    loss_M = np.array(loss_M)
    (reason,) = reasons_of(np.append(loss_M, 0), num_old=len(loss_M), slice_rows_min=30)
    paired = paired_difference(loss_M == -1, loss_M == 1, confidence=POLICY.confidence)
    assert reason.value == paired.upper


@given(st.lists(st.floats(-3, 3), min_size=40, max_size=80), st.floats(0.01, 0.5))
def test_numbers_are_bounded_from_above_and_shift_with_what_is_lost(loss_M, more):
    loss_M = np.array(loss_M)
    (one,), (other,) = (
        reasons_of(np.append(each, 0.123), num_old=len(loss_M), slice_rows_min=30)
        for each in (loss_M + 0.001, loss_M + 0.001 + more)
    )
    assert one.value >= -(loss_M + 0.001).mean() - 1e-9
    assert other.value == pytest.approx(one.value - more, abs=1e-6)
