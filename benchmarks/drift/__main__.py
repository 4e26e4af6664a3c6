"""Drift verdicts beside Evidently's in one run: `python -m benchmarks.drift [--quick]`.

Time of a verdict on 1,000,000 x 20 (15 numbers, 5 categories) against its DataDriftPreset; agreement on the published
set of shifts (shifts.py); false alarms over 1,000 pairs of tables without drift, and over years of daily looks.
"""

import argparse
import json
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.stats import binom

from benchmarks.drift.peer import datasets_of, drifted_columns, run_preset
from benchmarks.drift.shifts import SCHEMA, SHIFTS, draw, table_of
from benchmarks.drift.worlds import count_false_alarms, judge, sketch, years_with_alarms
from ratchet.actions.labels.sketching import sketch_rows
from ratchet.core.labels.drift.policy import DriftPolicy
from ratchet.core.labels.drift.stored import bytes_of_sketch, sketch_of_bytes

POLICY = DriftPolicy()
_SEED = 20_260_101
_TIMES_FASTER_MIN = 100.0
_NEW_ROWS_MAX = 1 << 18
"""As `components/drift_check/step.py` draws."""


class Sizes(NamedTuple):
    """How much of it is done."""

    num_rows: int
    num_shift_rows: int
    num_shifts: int
    num_pairs: int
    num_years: int


FULL = Sizes(1_000_000, 10_000, len(SHIFTS), 1_000, 1_000)
QUICK = Sizes(50_000, 6_000, 8, 40, 100)


def measure(sizes: Sizes) -> list[dict[str, Any]]:
    rows = [*_time_verdict(sizes.num_rows), *_compare_verdicts(sizes)]
    alpha = POLICY.false_alarm_ratio
    alarms = count_false_alarms(sizes.num_pairs, policy=POLICY, seed=_SEED)
    # More than this many have a chance of 0.1 % when the ratio is just kept.
    most = int(binom.isf(0.001, sizes.num_pairs, alpha))
    rows.append(_row(f"false alarms of {sizes.num_pairs} null pairs", alarms, "", goal=most))
    ours, daily = years_with_alarms(sizes.num_years, alpha=alpha, seed=_SEED)
    rows.append(_row(f"years with a false alarm, of {sizes.num_years}", ours, "share", peer=daily, goal=alpha))
    return rows


def _time_verdict(num_rows: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(_SEED)
    old, new = (table_of(draw(num_rows, random)) for _ in range(2))
    kept = bytes_of_sketch(sketch_rows(_rows_of(old, random), _TASK), [])
    incoming = _rows_of(new, random)
    took = []
    for _ in range(3):
        began_s = time.perf_counter()
        decision = judge(sketch_of_bytes(kept)[0], sketch_rows(incoming, _TASK, num_rows_max=_NEW_ROWS_MAX), POLICY)
        took.append(time.perf_counter() - began_s)
    assert decision.drift.name == "stable", decision.drift
    run_preset(datasets_of(old.slice(0, 200), new.slice(0, 200)))  # imports and first calls are not measured
    sides = datasets_of(old, new)
    began_s = time.perf_counter()
    run_preset(sides)
    peer_s = time.perf_counter() - began_s
    name = f"verdict on {num_rows:,} x 20"
    goal = _TIMES_FASTER_MIN if num_rows >= FULL.num_rows else None
    return [
        {**_row(name, min(took), "s", peer=peer_s), "ratio": round(peer_s / min(took), 1), "goal": goal,
         "ok": goal is None or peer_s / min(took) >= goal},
        _row("sketch of the known rows", len(kept) / 1e6, "MB"),
    ]  # fmt: skip


_TASK: Any = SimpleNamespace(examples=SCHEMA)


def _rows_of(inputs: pa.Table, random: np.random.Generator) -> pa.Table:
    fields = [column.combine_chunks() for column in inputs.columns]
    return pa.table(
        {
            "id": pa.array([f"row-{number}" for number in range(inputs.num_rows)]),
            "inputs": pa.StructArray.from_arrays(fields, fields=list(SCHEMA.inputs_type)),
            "label": pa.array(random.choice(["no", "yes"], inputs.num_rows)),
        }
    )


def _compare_verdicts(sizes: Sizes) -> list[dict[str, Any]]:
    """Both tools against the truth of the published set, and with each other where Evidently has a test."""
    ours_right = peer_right = agreed = num_both = 0
    chosen = SHIFTS if sizes.num_shifts >= len(SHIFTS) else SHIFTS[:: len(SHIFTS) // sizes.num_shifts + 1]
    for number, shift in enumerate(chosen):
        random = np.random.default_rng(_SEED + number)
        old, new = (draw(sizes.num_shift_rows, random) for _ in range(2))
        shift.change(new, random)
        ours = judge(sketch(old, random), sketch(new, random), POLICY).drift.name == "drifted"
        peer = bool(drifted_columns(datasets_of(table_of(old), table_of(new))))
        ours_right += ours == shift.is_drift
        peer_right += peer == shift.is_drift
        num_both += not shift.peer_is_blind
        agreed += ours == peer and not shift.peer_is_blind
        told = " ".join(
            f"{who}={'drifted' if said else 'stable':<8}" for who, said in (("ours", ours), ("evidently", peer))
        )
        print(f"  {shift.name:<42} {told} truth={'drifted' if shift.is_drift else 'stable'}")
    num = len(chosen)
    return [
        _row(f"right verdicts of {num} published shifts", ours_right, "", peer=peer_right, goal=num, is_least=True),
        _row(f"same verdicts as Evidently of {num_both}", agreed, "", goal=num_both, is_least=True),
    ]


def _row(
    name: str, value: float, unit: str, *, peer: float | None = None, goal: float | None = None, is_least: bool = False
) -> dict[str, Any]:
    """is_least: the goal is the least value that is good; else the largest."""
    is_ok = goal is None or (value >= goal if is_least else value <= goal)
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "peer": None if peer is None else round(peer, 4),
        "ratio": None,
        "goal": goal,
        "ok": bool(is_ok),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50,000 rows, fewer worlds; about a minute")
    rows = measure(QUICK if parser.parse_args().quick else FULL)
    print(f"{'name':<46} {'value':>9} {'unit':<6} {'peer':>9} {'ratio':>7} {'goal':>7}  ok")
    for one in rows:
        peer, ratio, goal = ("" if one[key] is None else one[key] for key in ("peer", "ratio", "goal"))
        ok = "yes" if one["ok"] else "NO"
        print(f"{one['name']:<46} {one['value']:>9} {one['unit']:<6} {peer:>9} {ratio:>7} {goal:>7}  {ok}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
