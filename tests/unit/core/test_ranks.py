"""Ranks are those of SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from ratchet.core.ranks import ranks_of


@given(st.lists(st.floats(-3, 3) | st.integers(-3, 3).map(float), max_size=40))
def test_equal_values_share_the_mean_of_their_ranks(values: list[float]) -> None:
    assert ranks_of(np.array(values, dtype=np.float64)) == pytest.approx(rankdata(values))
