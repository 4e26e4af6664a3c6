"""What worker 0 tells while it trains: a small file, at most once a second, that the step carries on."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ratchet.core.models.training_progress import TrainingProgress, seconds_left

_PAUSE_S = 1.0
"""Between two files. One takes about 0.4 ms, the question whether one is due about 0.4 µs a step."""
_LOSSES_MEANT = 20
"""Steps whose losses are averaged: a single batch says little."""
_STATUS = Path("/proc/self/status")
Item = TypeVar("Item")


class LiveProgress:
    """How far this training is. Of a worker that is not the first one, and without a path, it tells nothing."""

    def __init__(self, path: Path | None, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._path, self._monotonic_s = path, monotonic_s
        self._due_at_s = self._began_at_s = monotonic_s()
        self._num_before = 0

    def begin(self, *, num_before: int) -> None:
        """num_before: steps that the checkpoint brought along."""
        self._began_at_s, self._num_before = self._monotonic_s(), num_before

    @property
    def is_due(self) -> bool:
        return self._path is not None and self._monotonic_s() >= self._due_at_s

    def tell(self, told: TrainingProgress, losses: Sequence[float]) -> None:
        """Write it, with the loss and the time that is left. What cannot be written is no reason to end a training."""
        if self._path is None:
            return
        now_s = self._monotonic_s()
        newest = losses[-_LOSSES_MEANT:]
        left_s = seconds_left(
            num_done=(told.epoch - 1) * told.num_steps + told.step,
            num_all=told.num_epochs * told.num_steps,
            num_before=self._num_before,
            spent_s=now_s - self._began_at_s,
        )
        whole = told.model_copy(update={"loss": sum(newest) / len(newest) if newest else None, "left_s": left_s})
        half = self._path.with_suffix(".part")
        with suppress(OSError):
            half.write_text(whole.model_dump_json())
            half.replace(self._path)
        self._due_at_s = now_s + _PAUSE_S


class Stopwatch:
    """Adds up what parts of a span take."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._began_s = 0.0

    def __enter__(self) -> None:
        self._began_s = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self.total_s += time.monotonic() - self._began_s

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; what it takes to get each is added."""
        source = iter(items)
        while True:
            with self:
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item


def peak_memory_mb() -> float | None:
    """The most that this process has held in memory at once, in MiB; None where the system does not say.

    The kernel's VmHWM: getrusage counts the largest of all processes that this one was forked from as well.
    """
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)
