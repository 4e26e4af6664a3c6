import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.class_weights import class_weights_of

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("asked", "counts", "weights"),
    [
        pytest.param("balanced", [8, 2, 2], [0.5, 2, 2], id="each-class-as-much-as-any-other"),
        pytest.param("balanced", [8, 2, 0], [0.625, 2.5, 1], id="no-row-of-a-class"),
        pytest.param({"b": 3.0}, [2, 2, 2], [0.6, 1.8, 0.6], id="by-name"),
        pytest.param("balanced", [0, 0, 0], [1, 1, 1], id="no-rows"),
    ],
)
def test_weights_of_three_classes(asked, counts, weights):
    assert class_weights_of(asked, CLASSES, np.array(counts)) == pytest.approx(np.array(weights))


def test_nothing_asked_is_no_weights():
    assert class_weights_of("none", CLASSES, np.array([1, 2, 3])) is None


@given(
    st.one_of(st.just("balanced"), st.dictionaries(st.sampled_from(CLASSES), st.floats(1e-3, 1e3))),
    st.lists(st.integers(0, 10**6), min_size=3, max_size=3).filter(any),
)
def test_weights_have_a_mean_of_1_over_the_training_rows(asked, counts):
    weights_K = class_weights_of(asked, CLASSES, np.array(counts))
    assert weights_K is not None and (weights_K > 0).all()
    assert np.average(weights_K, weights=counts) == pytest.approx(1)
