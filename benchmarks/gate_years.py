"""Years of daily retrains judged by test rows that are used again each day: what `benchmarks.gate` says of reuse.

Each day brings new labels, of which a fifth are test rows, and all test rows so far judge the day's challenger. Rows
are of unequal difficulty, the same each day: the challengers of a year fail on the same hard rows, so that one day's
luck is the next day's too.
"""

from typing import Any

import numpy as np
from scipy.special import ndtri

from ratchet.core.models.exact import chance_of_gain
from ratchet.core.models.paired import paired_difference
from ratchet.core.models.spending import level_of

DAYS = 365
ROWS_A_DAY = 60
"""Of 300 labels."""
LOSS_MAX, CONFIDENCE, STATED = 0.03, 0.95, 0.05
_DIFFERS = 0.05
"""Share of rows on which exactly one of the two equal models is right."""
_SURE_SPREADS = 1.5
"""So far below what a test needs nothing passes: those need no exact sum, of which a year would take a minute."""


class Day:
    """What a day's challenger, `loss` worse, answers on all rows so far beside the champion."""

    def __init__(self, random: np.random.Generator, hardness_N: np.ndarray, *, loss: float) -> None:
        num = len(hardness_N)
        better = (_DIFFERS - loss) / 2 if loss < _DIFFERS else 0.0
        worse = better + loss
        lot_N = random.random(num)
        self.is_worse_N = lot_N < worse * hardness_N
        self.is_better_N = lot_N > 1 - better * hardness_N

    @property
    def counts(self) -> tuple[int, int, int]:
        return int(self.is_better_N.sum()), int(self.is_worse_N.sum()), len(self.is_worse_N)


def passes_alone(day: Day) -> bool:
    """As a gate judges that has no memory: each day at its confidence."""
    bound = paired_difference(~day.is_worse_N, ~day.is_better_N, confidence=CONFIDENCE)
    return bound.lower >= -LOSS_MAX


def passes_spent(day: Day, num_before: int) -> bool:
    better, worse, num = day.counts
    level = level_of(num_before, stated=STATED)
    spread = np.sqrt(max(better + worse, 1)) / num
    if (better - worse) / num + LOSS_MAX < (-ndtri(level) - _SURE_SPREADS) * spread:
        return False
    return chance_of_gain(better, worse, num, loss=LOSS_MAX, level=level) <= level


def simulate_year(run: int, *, loss: float) -> tuple[bool, bool]:
    """Whether any challenger of a year passes: without memory, and by what is left of the stated chance."""
    random = np.random.default_rng([run, int(loss * 1e6)])
    hardness_N = random.gamma(2.0, 0.5, DAYS * ROWS_A_DAY)  # of mean 1
    alone = spent = False
    for before in range(DAYS):
        day = Day(random, hardness_N[: (before + 1) * ROWS_A_DAY], loss=loss)
        alone = alone or passes_alone(day)
        spent = spent or passes_spent(day, before)
    return alone, spent


def power_on(day_number: int, *, num_runs: int, loss: float = 0.0) -> float:
    """Share of challengers that pass on that day, of those as good as the champion."""
    num = 0
    for run in range(num_runs):
        random = np.random.default_rng([run, day_number])
        hardness_N = random.gamma(2.0, 0.5, day_number * ROWS_A_DAY)
        num += passes_spent(Day(random, hardness_N, loss=loss), day_number - 1)
    return num / num_runs


def years(num_years: int, num_runs: int) -> list[dict[str, Any]]:
    """Rows of the benchmark. Worse by the margin itself, which is the hardest to tell."""
    found = [simulate_year(run, loss=LOSS_MAX) for run in range(num_years)]
    alone, spent = (sum(each[place] for each in found) / num_years for place in (0, 1))
    # Of a true 5 %, twice the standard error of this many years.
    false_max = STATED + 2 * float(np.sqrt(STATED * (1 - STATED) / num_years))
    rows = [
        {
            "name": f"years of {DAYS} challengers, each {LOSS_MAX:.0%} worse, in which any passes",
            "value": round(spent, 3),
            "peer": round(alone, 3),
            "ratio": round(spent / alone, 3) if alone else None,
            "goal": f"<= {STATED}",
            "ok": spent <= false_max,
        }
    ]
    for day_number, goal in ((7, None), (30, 0.8), (90, 0.8), (365, 0.8)):
        power = power_on(day_number, num_runs=num_runs)
        name = f"equally good challengers that pass on day {day_number}, {day_number * ROWS_A_DAY:,} rows"
        told = {"goal": f">= {goal}" if goal else "none", "ok": goal is None or power >= goal}
        rows.append({"name": name, "value": round(power, 3), "peer": None, "ratio": None, **told})
    return rows
