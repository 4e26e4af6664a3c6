"""How a training is spread over a machine, decided by what its steps take: `training: auto`. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

WORKERS_MAX = 16
"""Each loads torch: 0.3 GB of memory and 3 s of one core before its first step."""
ROWS_A_WORKER_MIN = 2
"""Of a batch; of a single row batch normalization measures nothing."""
START_S = 4.0
"""What several workers take longer to start than one process: torchrun loads torch too, and they have to meet."""
SHORT_S = 20.0
"""A training that one process ends in this time stays there: measuring several workers takes about as long."""
GAIN_MIN = 0.05
"""Share of the whole time that a later candidate has to save. Two measurements of the same differ by 3 % as a rule."""


class WorkerLayout(NamedTuple):
    world_size: int
    num_threads: int

    @property
    def text(self) -> str:
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        return (
            f"one process with {threads}" if self.world_size == 1 else f"{self.world_size} workers with {threads} each"
        )


class TimedLayout(NamedTuple):
    """A layout whose steps were timed."""

    layout: WorkerLayout
    step_s: float
    communication: str = ""
    """How its gradients travel, in words; "" = as by default."""

    def total_s(self, num_steps: int) -> float:
        """Of the whole training, beyond what each has to load."""
        return self.step_s * num_steps + (START_S if self.layout.world_size > 1 else 0.0)

    def told(self, num_steps: int) -> str:
        how = f", {self.communication}" if self.communication else ""
        return f"{self.layout.text}{how}: {self.step_s * 1e3:.3g} ms a step, {self.total_s(num_steps):,.0f} s in all"


def single_layouts(num_cores: int) -> tuple[WorkerLayout, ...]:
    """One process, with all cores and with one: small steps lose more by handing out work than they win."""
    return tuple(dict.fromkeys((WorkerLayout(1, num_cores), WorkerLayout(1, 1))))


def spread_layout(*, num_cores: int, num_gpus: int, batch_size: int, num_rows: int) -> WorkerLayout | None:
    """A worker for each GPU, else for each core. None where that is one, or a batch has too few rows for them."""
    num_places = num_gpus or num_cores
    world_size = min(num_places, WORKERS_MAX, min(batch_size, num_rows) // ROWS_A_WORKER_MIN)
    return WorkerLayout(world_size, max(1, num_cores // world_size)) if world_size > 1 else None


def is_worth_spreading(candidates: Sequence[TimedLayout], *, num_steps: int) -> bool:
    """Whether to measure several workers as well. candidates: of one process."""
    return min(each.total_s(num_steps) for each in candidates) >= SHORT_S


def choose_layout(candidates: Sequence[TimedLayout], *, num_steps: int) -> tuple[int, str]:
    """Which of the candidates, the simplest first, and why. A later one has to save `GAIN_MIN` of the best so far.

    num_steps: of the whole training, at most.
    """
    best = 0
    for place, candidate in enumerate(candidates):
        if candidate.total_s(num_steps) < (1 - GAIN_MIN) * candidates[best].total_s(num_steps):
            best = place
    others = [each.told(num_steps) for place, each in enumerate(candidates) if place != best]
    rejected = f"; not {'; not '.join(others)}" if others else ""
    short = ""
    if not any(each.layout.world_size > 1 for each in candidates):
        short = f"; several workers were not tried (a training under {SHORT_S:.0f} s, or no room for two)"
    return best, f"{candidates[best].told(num_steps)} for {num_steps:,} steps{rejected}{short}"
