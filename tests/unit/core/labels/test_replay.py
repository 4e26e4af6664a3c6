import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.replay import Replay, choose_rows

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=60)


def chosen(rows, share, *, seed=0, version="digits/v2"):
    is_old_N, strata_N = (np.array(column) for column in zip(*rows, strict=True))
    return choose_rows(is_old_N.astype(bool), strata_N, share=share, seed=seed, version=version)


@given(ROWS, st.floats(0, 1))
def test_every_new_row_is_trained_and_of_each_class_the_share_of_old_ones(rows, share):
    is_kept_N = chosen(rows, share)
    assert all(is_kept for is_kept, (is_old, _) in zip(is_kept_N, rows, strict=True) if not is_old)
    for stratum in range(3):
        old = [bool(kept) for kept, row in zip(is_kept_N, rows, strict=True) if row == (True, stratum)]
        assert sum(old) == int(np.ceil(share * len(old)))


def test_the_choice_is_one_of_seed_and_version_alone():
    rows = [(True, row % 3) for row in range(300)]
    assert (chosen(rows, 0.3) == chosen(rows, 0.3)).all()
    assert (chosen(rows, 0.3) != chosen(rows, 0.3, seed=1)).any()
    assert (chosen(rows, 0.3) != chosen(rows, 0.3, version="digits/v3")).any()


def test_it_says_how_many_of_both():
    assert Replay("digits/v1", 5, 100, 20).text() == "5 rows that are new since digits/v1, and 20 of 100 older ones"
    assert Replay("", 7, 0, 0, "there is no champion").text() == "all 7 rows: there is no champion"
