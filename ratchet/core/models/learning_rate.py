"""The learning rate of each step of a training. Pure."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine"]


def rate_share(step: int, *, num_steps: int, schedule: Schedule, warmup_share: float) -> float:
    """Share of the task's learning rate for a step, above 0 and at most 1. step: from 0, below num_steps.

    It rises linearly over the first `warmup_share` of all steps; then it stays, or falls to nearly 0 along half a
    cosine (Loshchilov and Hutter, "SGDR", 2017, without restarts).
    """
    num_warmup = math.ceil(warmup_share * num_steps)
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    if schedule == "constant":
        return 1.0
    # One step more than there are: the last one still learns.
    done = (step - num_warmup) / (num_steps - num_warmup + 1)
    return (1 + math.cos(math.pi * done)) / 2
