"""Batches that are gathered ahead are the batches that are gathered in turn."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ratchet.tasks.bound import TorchTask
from ratchet.training.feeding import feed, is_fed_ahead, made_ahead
from ratchet.training.job import TrainingJob
from ratchet.training.running import Rows, Run
from tests.models import DIGITS, changed

_NUM_AHEAD = 2


@given(st.lists(st.integers(), max_size=20))
def test_what_is_made_ahead_comes_in_order(items):
    assert list(made_ahead(iter(items), lambda item: item * 2)) == [item * 2 for item in items]


def test_no_more_is_made_than_is_soon_needed_and_nothing_after_the_end():
    made = list[int]()

    def make(item: int) -> int:
        made.append(item)
        return item

    with closing(made_ahead(iter(range(100)), make)) as ahead:
        assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    assert len(made) <= 3 + _NUM_AHEAD
    assert not [each for each in threading.enumerate() if each.name.startswith("rows")]


def test_what_cannot_be_made_is_raised_where_it_is_asked_for():
    ahead = made_ahead(iter([1, 0, 2]), lambda item: 1 // item)
    assert next(ahead) == 1
    with pytest.raises(ZeroDivisionError):
        next(ahead)


@pytest.mark.parametrize(
    ("device", "batch_bytes", "is_ahead"),
    [("cpu", 2**20 - 1, False), ("cpu", 2**20, True), ("cuda", 1, True)],
)
def test_large_batches_and_those_of_a_gpu_are_gathered_ahead(device, batch_bytes, is_ahead):
    assert is_fed_ahead(device, batch_bytes) == is_ahead


def run_of(*, width: int, rank: int, world_size: int, accumulate: int) -> Run:
    names = ("train_path", "val_path", "checkpoint_dir", "model_path", "start_path", "history_path", "failure_path")
    training = {**DIGITS.training.model_dump(), "batch_size": 8, "accumulate": accumulate, "world_size": world_size}
    spec = changed(DIGITS, {"training": training})
    job = TrainingJob(spec=spec, base_model_path=None, **{name: Path(name) for name in names})
    places = torch.arange(41.0)
    rows = Rows(places.reshape(-1, 1).expand(41, width).contiguous(), places.long())
    return Run(job, TorchTask(spec, None), rows, rows, rank, world_size)


@pytest.mark.parametrize("width", [3, 2**18], ids=["in-turn", "ahead"])
@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 1), (1, 3), (2, 2)])
def test_batches_are_those_of_the_epoch_also_after_a_resume(width, world_size, accumulate):
    for rank in range(world_size):
        run = run_of(width=width, rank=rank, world_size=world_size, accumulate=accumulate)
        expected = list(run.batches(epoch=4))
        for num_done in (0, 3):
            fed = list(feed(run, 4, num_done=num_done))
            assert [each.num_rows for each in fed] == [each.num_rows for each in expected[num_done:]]
            for loaded, batch in zip(fed, expected[num_done:], strict=True):
                assert torch.equal(torch.cat([labels for _, labels in loaded.parts]), batch.rows)
                assert torch.equal(torch.cat([inputs[:, -1] for inputs, _ in loaded.parts]), batch.rows.float())
                assert len(loaded.parts) == min(accumulate, len(batch.rows))
