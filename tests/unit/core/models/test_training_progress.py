"""How far a training is, in words, and how long it still takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.training_history import EpochMetrics, curve_points, history_of
from ratchet.core.models.training_progress import TrainingProgress, progress_words, seconds_left

HALF = TrainingProgress(epoch=3, num_epochs=10, step=120, num_steps=400, loss=0.4117, rows_per_s=12_300.4, left_s=118.0)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        pytest.param(HALF, "epoch 3/10 · step 120/400 · loss 0.412 · 12,300 rows/s · about 2 min left", id="all"),
        pytest.param(
            HALF.model_copy(update={"is_at_most": True}),
            "epoch 3/10 · step 120/400 · loss 0.412 · 12,300 rows/s · at most 2 min left",
            id="it-may-end-early",
        ),
        pytest.param(TrainingProgress(step=0, num_steps=7), "epoch 1/1 · step 0/7", id="before-the-first-step"),
        pytest.param(
            TrainingProgress(unit="tree", step=12, num_steps=500, loss=0.5), "tree 12/500 · loss 0.5", id="trees"
        ),
    ],
)
def test_progress_in_words(told: TrainingProgress, words: str) -> None:
    assert progress_words(told) == words


@pytest.mark.parametrize(
    ("left_s", "words"),
    [
        (0.0, "about 1 s left"),
        (1.4, "about 1 s left"),
        (99.4, "about 99 s left"),
        (99.5, "about 2 min left"),
        (5_969.9, "about 99 min left"),
        (5_970.0, "about 1.7 h left"),
        (86_400.0, "about 24.0 h left"),
    ],
)
def test_the_time_left_has_two_digits_or_so(left_s: float, words: str) -> None:
    assert progress_words(TrainingProgress(step=1, num_steps=2, left_s=left_s)).endswith(words)


@pytest.mark.parametrize(
    ("num_done", "num_before", "spent_s", "left_s"),
    [
        pytest.param(0, 0, 5.0, None, id="no-step-yet"),
        pytest.param(40, 40, 5.0, None, id="no-step-of-this-attempt-yet"),
        pytest.param(25, 0, 10.0, 30.0, id="a-quarter-done"),
        pytest.param(60, 40, 10.0, 20.0, id="earlier-steps-took-no-time-of-this-attempt"),
        pytest.param(100, 0, 10.0, 0.0, id="done"),
    ],
)
def test_the_time_left_is_at_the_pace_of_this_attempt(
    num_done: int, num_before: int, spent_s: float, left_s: float | None
) -> None:
    assert seconds_left(num_done=num_done, num_all=100, num_before=num_before, spent_s=spent_s) == left_s


@given(
    num_done=st.integers(0, 10**9),
    num_all=st.integers(1, 10**9),
    num_before=st.integers(0, 10**9),
    spent_s=st.floats(0, 1e9),
)
def test_the_time_left_is_never_negative_and_never_grows_with_a_step_in_no_time(
    num_done: int, num_all: int, num_before: int, spent_s: float
) -> None:
    now = seconds_left(num_done=num_done, num_all=num_all, num_before=num_before, spent_s=spent_s)
    later = seconds_left(num_done=num_done + 1, num_all=num_all, num_before=num_before, spent_s=spent_s)
    assert (now is None) == (num_done <= num_before)
    if now is not None:
        assert later is not None and 0 <= later <= now


EPOCHS = (
    EpochMetrics(epoch=1, train_loss=0.9, val_loss=None, val_accuracy=None, rows_per_s=10.0),
    EpochMetrics(epoch=2, train_loss=0.5, val_loss=0.6, val_accuracy=0.8, resumed_at_step=3),
)


def test_what_was_not_measured_has_no_point() -> None:
    assert [tuple(point) for point in curve_points(EPOCHS)] == [
        ("train_loss", 1, 0.9),
        ("rows_per_s", 1, 10.0),
        ("train_loss", 2, 0.5),
        ("val_loss", 2, 0.6),
        ("val_accuracy", 2, 0.8),
    ]


@pytest.mark.parametrize("data", [b"", b"\xff", b"{}\n", b'{"epoch": 1'])
def test_a_history_that_cannot_be_read_is_none(data: bytes) -> None:
    assert history_of(data) == ()
    assert history_of("".join(f"{each.model_dump_json()}\n" for each in EPOCHS).encode()) == EPOCHS
