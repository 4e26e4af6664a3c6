"""What the gate finds and what it costs: `python -m benchmarks.gate [--quick]`.

Pairs of simulated models on 12 columns. The peer reads the same parts one by one without correcting for how many they
are: whatever has a p-value under 5 % is called worse, as dashboards with a filter do. Then years of daily retrains on
test rows that are used again (`benchmarks.gate_years`); the peer there is the same gate without memory.
"""

import argparse
import json
import time
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import bdtrc

from benchmarks.gate_years import years
from ratchet.core.models.slices.columns import SliceColumn
from ratchet.core.models.slices.search import ROWS_MIN, find_worse

_CONFIDENCE = 0.95
_NUM_COLUMNS, _NUM_CODES = 12, 5
_PLANTED_SHARE, _PLANTED_LOSS = 0.05, 0.1
_FOUND_MIN, _FALSE_MAX, _SECONDS_MAX = 0.95, 0.05, 20.0
_SIZES = {True: (20_000, 20), False: (100_000, 200)}
"""Rows, and pairs of models."""
_YEARS = {True: (20, 50), False: (400, 300)}
"""Years, and challengers of a day whose power is measured."""


def simulate(run: int, num_rows: int, *, is_planted: bool) -> tuple[np.ndarray, list[SliceColumn]]:
    """Two models that are each wrong alone on 4 % of the rows; planted: the challenger also on a tenth of a part."""
    random = np.random.default_rng([run, num_rows, is_planted])
    codes = random.integers(0, _NUM_CODES, (_NUM_COLUMNS, num_rows)).astype(np.int32)
    loss = random.choice([-1, 0, 1], p=[0.04, 0.92, 0.04], size=num_rows)
    if is_planted:
        is_bad = random.random(num_rows) < _PLANTED_SHARE
        codes[0][is_bad] = _NUM_CODES
        loss[is_bad & (random.random(num_rows) < _PLANTED_LOSS)] = 1
    sizes = [_NUM_CODES + (column == 0 and is_planted) for column in range(_NUM_COLUMNS)]
    return loss, [
        SliceColumn(tuple(f"c{column} is {code}" for code in range(size)), codes[column])
        for column, size in enumerate(sizes)
    ]


def num_worse_uncorrected(loss: np.ndarray, columns: list[SliceColumn]) -> int:
    """Parts of one or two conditions with a p-value under 5 %."""
    found = 0
    for column in columns:
        found += _num_under(loss, column.code_N, len(column.conditions))
    for one, other in combinations(columns, 2):
        width = len(other.conditions)
        found += _num_under(loss, one.code_N * width + other.code_N, len(one.conditions) * width)
    return found


def _num_under(loss: np.ndarray, codes: np.ndarray, size: int) -> int:
    worse, better, all_rows = (
        np.bincount(codes[rows], minlength=size) for rows in (loss == 1, loss == -1, slice(None))
    )
    chances = np.where(worse > 0, bdtrc(np.maximum(worse - 1, 0), np.maximum(worse + better, 1), 0.5), 1)
    return int(((chances < 1 - _CONFIDENCE) & (all_rows >= ROWS_MIN)).sum())


def results(num_rows: int, num_runs: int) -> list[dict[str, Any]]:
    num_found = num_false = num_false_peer = 0
    took_s = []
    for run in range(num_runs):
        loss, columns = simulate(run, num_rows, is_planted=True)
        began = time.perf_counter()
        found = find_worse(loss, columns, confidence=_CONFIDENCE).slices
        took_s.append(time.perf_counter() - began)
        num_found += any(f"c0 is {_NUM_CODES}" in each.conditions for each in found)
        loss, columns = simulate(run, num_rows, is_planted=False)
        num_false += bool(find_worse(loss, columns, confidence=_CONFIDENCE).slices)
        num_false_peer += bool(num_worse_uncorrected(loss, columns))
    false, false_peer, slowest = num_false / num_runs, num_false_peer / num_runs, max(took_s)
    # Of a true 5 %, twice the standard error of this many runs.
    false_max = _FALSE_MAX + 2 * float(np.sqrt(_FALSE_MAX * (1 - _FALSE_MAX) / num_runs))
    what, power = f"{num_rows:,} rows", num_found / num_runs
    return [
        _row(f"planted part found, {what}", power, goal=f">= {_FOUND_MIN}", is_met=power >= _FOUND_MIN),
        _row(
            f"equal models called worse somewhere, {what}",
            false,
            goal=f"<= {_FALSE_MAX}",
            is_met=false <= false_max,
            peer=false_peer,
        ),
        _row(
            f"slowest search in s, {what} x {_NUM_COLUMNS}",
            slowest,
            goal=f"<= {_SECONDS_MAX:g}",
            is_met=slowest <= _SECONDS_MAX,
        ),
    ]


def _row(name: str, value: float, *, goal: str, is_met: bool, peer: float | None = None) -> dict[str, Any]:
    ratio = round(value / peer, 3) if peer else None
    return {"name": name, "value": round(value, 3), "peer": peer, "ratio": ratio, "goal": goal, "ok": is_met}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--quick", action="store_true", help="20 pairs of 20,000 rows instead of 200 of 100,000")
    is_quick = parser.parse_args().quick
    rows = [*results(*_SIZES[is_quick]), *years(*_YEARS[is_quick])]
    for row in rows:
        print(f"{row['name']:<72} {row['value']:>8}  peer {row['peer']!s:>6}  goal {row['goal']}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
