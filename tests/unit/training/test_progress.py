"""What worker 0 tells while it trains, and what it measures of itself."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.core.models.training_progress import TrainingProgress
from ratchet.training.progress import LiveProgress, Stopwatch, peak_memory_mb


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def told_in(path: Path) -> TrainingProgress:
    return TrainingProgress.model_validate_json(path.read_bytes())


def test_it_tells_at_once_and_then_once_a_second_with_the_mean_of_the_newest_losses(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "progress.json"
    live = LiveProgress(path, monotonic_s=clock)
    live.begin(num_before=0)
    assert live.is_due
    clock.now_s += 2
    live.tell(TrainingProgress(epoch=1, num_epochs=2, step=5, num_steps=10), [9.0, *[1.0, 3.0] * 10])
    assert not live.is_due, "a second has not gone by"
    assert (told_in(path).loss, told_in(path).left_s) == (2.0, 6.0)
    clock.now_s += 1
    assert live.is_due
    assert [each.name for each in tmp_path.iterdir()] == ["progress.json"], "whole, or not there"


def test_what_the_checkpoint_brought_along_took_no_time(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "progress.json"
    live = LiveProgress(path, monotonic_s=clock)
    live.begin(num_before=10)
    clock.now_s += 4
    live.tell(TrainingProgress(epoch=2, num_epochs=2, step=2, num_steps=10), [])
    assert (told_in(path).loss, told_in(path).left_s) == (None, 16.0)


@pytest.mark.parametrize("path", [None, Path("/nowhere/progress.json")], ids=["no-path", "no-folder"])
def test_what_cannot_be_written_ends_no_training(path: Path | None) -> None:
    live = LiveProgress(path)
    assert live.is_due == (path is not None)
    live.tell(TrainingProgress(step=1, num_steps=2), [1.0])
    assert not live.is_due


def test_a_stopwatch_counts_getting_the_items_and_not_what_is_done_with_them() -> None:
    watch = Stopwatch()

    def slow() -> Iterator[int]:
        for each in range(2):
            time.sleep(0.02)
            yield each

    assert list(watch.timed(slow())) == [0, 1]
    own_s = watch.total_s
    assert own_s >= 0.04
    for _ in watch.timed(range(3)):
        time.sleep(0.02)
    assert watch.total_s - own_s < 0.02, "60 ms were the caller's"
    with watch:
        time.sleep(0.02)
    assert watch.total_s >= own_s + 0.02


def test_the_peak_of_the_memory_is_of_this_process_and_never_falls() -> None:
    before = peak_memory_mb()
    assert before is not None and before > 10, "Python alone takes that"
    block = b"x" * (256 * 2**20)
    during = peak_memory_mb()
    del block
    after = peak_memory_mb()
    assert during is not None and during >= 256
    # The kernel keeps its counters by CPU, and adds them up when they differ by some pages.
    assert after is not None and after >= during - 8
