"""Whether a training's network is compiled: by what its machine has, and by what that saves. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ratchet.core.models.layout import GAIN_MIN

Compiled = Literal["off", "on", "graph"]
Compile = Literal["off", "on", "graph", "auto"]

WORTH_TRYING_S = 180.0
"""A training that ends sooner is not worth the trial: compiling takes 8 to 60 s, and steps became 1.5 to 1.9 times as
fast where it helped at all, so the saving would be little more than what the trial takes."""
LAUNCH_BOUND_S = 0.02
"""A longer step on a GPU computes; a shorter one may wait for the launch of its kernels, which a graph does at once."""


class FoundCompiler(NamedTuple):
    """What a worker's machine has for torch.compile."""

    device: str
    """"cpu" or "cuda"."""
    cpp: str = ""
    """The C++ compiler that torch would call; "" = none."""
    wanted: str = "g++"
    """What it was looked for as."""
    has_triton: bool = False


class TimedCompile(NamedTuple):
    """One way to make the steps, timed."""

    how: Compiled
    step_s: float
    start_s: float = 0.0
    """What its first step takes beyond the others: the compiler."""

    def total_s(self, num_steps: int) -> float:
        return self.start_s + self.step_s * num_steps

    def told(self, num_steps: int) -> str:
        first = f" after {self.start_s:.3g} s of compiling" if self.start_s >= 0.1 else ""
        return f"{_NAMES[self.how]}: {self.step_s * 1e3:.3g} ms a step{first}, {self.total_s(num_steps):,.0f} s in all"


_NAMES = {"off": "not compiled", "on": "compiled", "graph": "compiled, as CUDA graphs"}


def why_not_compiled(how: Compiled, found: FoundCompiler) -> str:
    """What is missing, as the middle of a sentence; "" when nothing is."""
    if how == "graph" and found.device == "cpu":
        return "CUDA graphs need a GPU, and this worker computes on the CPU"
    if how != "off" and not found.cpp:
        return f"torch.compile needs a C++ compiler, and there is no `{found.wanted}` on PATH"
    if how != "off" and found.device != "cpu" and not found.has_triton:
        return "torch.compile needs Triton on a GPU, and the package `triton` is not installed"
    return ""


def compiled_ways(*, num_gpus: int, world_size: int, step_s: float) -> tuple[Compiled, ...]:
    """What is tried beside steps that are not compiled. step_s: of those.

    Graphs are for a single worker: the collectives of several run between the passes and are launched one by one.
    """
    is_launch_bound = num_gpus > 0 and world_size == 1 and step_s <= LAUNCH_BOUND_S
    return ("on", "graph") if is_launch_bound else ("on",)


def is_worth_compiling(step_s: float, *, num_steps: int) -> bool:
    """Whether to measure it. step_s: of steps that are not compiled."""
    return step_s * num_steps >= WORTH_TRYING_S


def choose_compiled(timed: Sequence[TimedCompile], *, num_steps: int) -> tuple[Compiled, str]:
    """The way with the shortest training, compiler included, and why. timed: "off" first; a later one has to save
    `GAIN_MIN` of the best so far."""
    best = timed[0]
    for each in timed[1:]:
        if each.total_s(num_steps) < (1 - GAIN_MIN) * best.total_s(num_steps):
            best = each
    others = "".join(f"; not {each.told(num_steps)}" for each in timed if each != best)
    return best.how, best.told(num_steps) + others
