"""`training: auto`: what a machine's measurements lead to, at each boundary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.layout import (
    GAIN_MIN,
    SHORT_S,
    START_S,
    WORKERS_MAX,
    TimedLayout,
    WorkerLayout,
    choose_layout,
    is_worth_spreading,
    single_layouts,
    spread_layout,
)

ALL, ONE, SPREAD = WorkerLayout(1, 8), WorkerLayout(1, 1), WorkerLayout(8, 1)


def test_one_process_is_tried_with_all_cores_and_with_one():
    assert single_layouts(8) == (ALL, ONE)
    assert single_layouts(1) == (ONE,)


@pytest.mark.parametrize(
    ("num_cores", "num_gpus", "batch_size", "num_rows", "expected"),
    [
        pytest.param(1, 0, 64, 1_000, None, id="one-core"),
        pytest.param(2, 0, 64, 1_000, WorkerLayout(2, 1), id="two-cores"),
        pytest.param(8, 0, 3, 1_000, None, id="a-batch-for-one"),
        pytest.param(8, 0, 4, 1_000, WorkerLayout(2, 4), id="a-batch-for-two"),
        pytest.param(8, 0, 64, 5, WorkerLayout(2, 4), id="few-rows"),
        pytest.param(64, 0, 512, 10_000, WorkerLayout(WORKERS_MAX, 4), id="many-cores"),
        pytest.param(16, 1, 512, 10_000, None, id="one-gpu"),
        pytest.param(16, 4, 512, 10_000, WorkerLayout(4, 4), id="four-gpus"),
    ],
)
def test_a_worker_for_each_core_or_gpu_that_a_batch_has_rows_for(num_cores, num_gpus, batch_size, num_rows, expected):
    found = spread_layout(num_cores=num_cores, num_gpus=num_gpus, batch_size=batch_size, num_rows=num_rows)
    assert found == expected


@pytest.mark.parametrize(
    ("steps_s", "num_steps", "expected"),
    [
        pytest.param((0.02, 0.03), 999, False, id="just-short"),
        pytest.param((0.02, 0.03), 1_000, True, id="long-enough"),
        pytest.param((0.03, 0.01), 1_000, False, id="one-thread-makes-it-short"),
    ],
)
def test_several_workers_are_tried_for_a_long_training_alone(steps_s, num_steps, expected):
    candidates = [TimedLayout(layout, step_s) for layout, step_s in zip((ALL, ONE), steps_s, strict=True)]
    assert is_worth_spreading(candidates, num_steps=num_steps) is expected


@pytest.mark.parametrize(
    ("all_cores", "one_core", "spread", "num_steps", "expected"),
    [
        pytest.param(10, 10, 10, 10_000, 0, id="all-alike-stays-simple"),
        pytest.param(10, 9.6, 10, 10_000, 0, id="not-enough-faster"),
        pytest.param(10, 9.4, 10, 10_000, 1, id="one-thread-is-faster"),
        pytest.param(10, 9, 5, 10_000, 2, id="workers-are-faster"),
        pytest.param(10, 10, 5, 900, 2, id="worth-the-start"),
        pytest.param(10, 10, 5, 800, 0, id="the-start-takes-what-the-steps-save"),
        pytest.param(10, 10, 9, 1_000, 0, id="faster-steps-but-the-start-costs-more"),
    ],
)
def test_the_fastest_over_the_whole_training_wins(all_cores, one_core, spread, num_steps, expected):
    steps_s = [each / 1e3 for each in (all_cores, one_core, spread)]
    candidates = [TimedLayout(layout, step_s) for layout, step_s in zip((ALL, ONE, SPREAD), steps_s, strict=True)]
    best, text = choose_layout(candidates, num_steps=num_steps)
    assert best == expected, text
    assert text.startswith(candidates[best].told(num_steps)) and text.count("ms a step") == 3


def test_the_words_have_the_numbers_of_both_sides():
    candidates = [TimedLayout(ALL, 0.01), TimedLayout(SPREAD, 0.004, "compress: bf16")]
    assert choose_layout(candidates, num_steps=5_000) == (
        1,
        "8 workers with 1 thread each, compress: bf16: 4 ms a step, 24 s in all for 5,000 steps; "
        "not one process with 8 threads: 10 ms a step, 50 s in all",
    )
    _, alone = choose_layout(candidates[:1], num_steps=5)
    assert "several workers were not tried (a training under 20 s" in alone


@given(
    steps_s=st.lists(st.floats(1e-5, 10), min_size=1, max_size=6),
    spread=st.sets(st.integers(0, 5)),
    num_steps=st.integers(1, 10**7),
)
def test_no_candidate_is_much_better_than_the_chosen_one(steps_s: list[float], spread: set[int], num_steps: int):
    candidates = [TimedLayout(SPREAD if place in spread else ALL, step_s) for place, step_s in enumerate(steps_s)]
    best, _ = choose_layout(candidates, num_steps=num_steps)
    totals = [each.total_s(num_steps) for each in candidates]
    # It was at least so good as any before it, and one that came later would have had to save its share.
    assert all(total >= (1 - GAIN_MIN) * totals[best] for total in totals)
    assert all(totals[best] < total for total in totals[:best])
    assert SHORT_S > START_S
