"""What the sensor costs and how fast it is: `python -m benchmarks.sensor [--quick]`.

The peer of a lag is polling alone, every 2 s, in the same run: the same sensor whose hints are all lost. Dagster's and
KEDA's pollers look every 30 s unless told otherwise.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.sensor.latency import Lags, measure_lags
from benchmarks.sensor.listing import measure_tick_cost
from benchmarks.sensor.simulation import simulate
from benchmarks.sensor.world import running_world

_LAG_S_MAX = 1.0
_NUM_TASKS = 4
_INTERVAL_S = 2.0
_DROP_RATIO = 0.3


class Sizes(NamedTuple):
    """How much is measured."""

    num_old: int
    num_versions: int
    num_batches: int
    """With all hints, and with a share of them lost."""
    num_polled: int
    num_days: int


QUICK = Sizes(num_old=10_000, num_versions=20, num_batches=12, num_polled=4, num_days=300)
FULL = Sizes(num_old=1_000_000, num_versions=10_000, num_batches=300, num_polled=60, num_days=10_000)


def measure_hints(sizes: Sizes) -> list[dict[str, Any]]:
    """With all hints, with some, with none."""
    with (
        tempfile.TemporaryDirectory(prefix="ratchet-bench-") as name,
        running_world(Path(name), num_tasks=_NUM_TASKS, interval_s=_INTERVAL_S) as world,
    ):
        hinted = measure_lags(world, num_batches=sizes.num_batches, drop_ratio=0.0, seed=1)
        lossy = measure_lags(world, num_batches=sizes.num_batches, drop_ratio=_DROP_RATIO, seed=2)
        polled = measure_lags(world, num_batches=sizes.num_polled, drop_ratio=1.0, seed=3)
    return [
        *(_lag_row(hinted, polled, percent=percent) for percent in (50, 99)),
        _wrong_row("sensor.missed_of_30_pct_lost_hints", lossy.num_missed, lossy),
        _wrong_row("sensor.double_of_30_pct_lost_hints", lossy.num_double, lossy),
        {
            **_row("sensor.lag_p99_30_pct_lost_hints", lossy.percentile(99), unit="s", peer=polled.percentile(99)),
            "goal": None,
            "ok": lossy.num_missed == 0,
        },
    ]


def measure_days(num_days: int) -> list[dict[str, Any]]:
    """Violations of the policies' invariants in that many simulated days."""
    began_s = time.perf_counter()
    simulated = simulate(num_days, seed=4)
    took_s = time.perf_counter() - began_s
    return [
        {
            "name": f"sensor.violations_in_{num_days}_days",
            "value": simulated.summary["num_violations"],
            "unit": "violations",
            "peer": None,
            "ratio": None,
            "goal": 0,
            "ok": not simulated.violations,
        },
        {**_row("sensor.simulated_day", 1000 * took_s / num_days, unit="ms", peer=None), "goal": None, "ok": True},
    ]


def _lag_row(hinted: Lags, polled: Lags, *, percent: int) -> dict[str, Any]:
    seconds = hinted.percentile(percent)
    row = _row(f"sensor.lag_p{percent}_with_hints", seconds, unit="s", peer=polled.percentile(percent))
    return {**row, "goal": _LAG_S_MAX, "ok": seconds <= _LAG_S_MAX and hinted.num_missed == hinted.num_double == 0}


def _wrong_row(name: str, num_wrong: int, lags: Lags) -> dict[str, Any]:
    """The peer: how many hints were lost, each a run that never started if hints were all there is."""
    row = _row(name, num_wrong, unit="runs", peer=lags.num_dropped)
    return {**row, "goal": 0, "ok": num_wrong == 0 and lags.num_dropped > 0}


def _row(name: str, value: float, *, unit: str, peer: float | None) -> dict[str, Any]:
    ratio = round(value / peer, 3) if peer else None
    peer_shown = None if peer is None else round(peer, 4)
    return {"name": name, "value": round(value, 4), "unit": unit, "peer": peer_shown, "ratio": ratio}


def _print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'name':<46} {'value':>9} {'unit':<10} {'peer':>9} {'ratio':>8} {'goal':>6}  ok")
    for one in rows:
        cells = {name: "-" if value is None else value for name, value in one.items()}
        numbers = f"{cells['value']:>9} {one['unit']:<10} {cells['peer']:>9} {cells['ratio']:>8} {cells['goal']:>6}"
        print(f"{one['name']:<46} {numbers}  {'yes' if one['ok'] else 'NO'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sensor", description=__doc__, epilog="example: python -m benchmarks.sensor --quick"
    )
    parser.add_argument("--quick", action="store_true", help="fewer of everything; under a minute")
    sizes = QUICK if parser.parse_args().quick else FULL
    rows = measure_tick_cost(sizes.num_old, num_versions=sizes.num_versions)
    rows += measure_hints(sizes)
    rows += measure_days(sizes.num_days)
    _print_table(rows)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
