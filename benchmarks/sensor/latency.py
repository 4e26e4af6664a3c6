"""From the landing of a label that is worth a run to that run: with hints, with some of them, with none."""

import random
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from benchmarks.sensor.world import World, wait_until
from ratchet.core.ports import RunState

_MISSED_AFTER_S = 15.0
_PAUSE_S_MAX = 2.0
"""One round of the sensor: a poller meets labels at every phase of its interval."""


class Lags(NamedTuple):
    """What came of a number of batches."""

    seconds: tuple[float, ...]
    """Of each batch that got its run: from the beginning of the PUT to the creation of the run, by KFP's clock."""
    num_missed: int
    num_double: int
    """Runs beyond one a batch."""
    num_dropped: int
    """Hints that were lost on the way."""

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.seconds, percent)) if self.seconds else float("inf")


def measure_lags(world: World, *, num_batches: int, drop_ratio: float, seed: int) -> Lags:
    """Each task in turn gets a batch at a random moment, once its last run is over."""
    world.forwarder.drop_ratio, num_dropped = drop_ratio, world.forwarder.num_dropped
    shares = [len(range(number, num_batches, len(world.tasks))) for number in range(len(world.tasks))]
    with ThreadPoolExecutor(len(world.tasks)) as threads:
        args = zip(world.tasks, shares, range(seed, seed + len(shares)), strict=True)
        parts = list(threads.map(lambda each: _measure_task(world, each[0], num_batches=each[1], seed=each[2]), args))
    return Lags(
        seconds=tuple(seconds for part in parts for seconds in part.seconds),
        num_missed=sum(part.num_missed for part in parts),
        num_double=sum(part.num_double for part in parts),
        num_dropped=world.forwarder.num_dropped - num_dropped,
    )


def _measure_task(world: World, task: str, *, num_batches: int, seed: int) -> Lags:
    source = random.Random(seed)
    seconds: list[float] = []
    known = _list_runs(world, task)
    num_before = len(known)
    for _ in range(num_batches):
        wait_until(lambda: _is_idle(world, task), f"{task} is idle")
        time.sleep(source.uniform(0.0, _PAUSE_S_MAX))
        began_at = _push(world, task)
        if run := _wait_new_run(world, task, num_known=len(known)):
            assert run.created_at is not None
            seconds.append((run.created_at - began_at).total_seconds())
        known = _list_runs(world, task)
    wait_until(lambda: _is_idle(world, task), f"{task} is idle")
    num_runs = len(_list_runs(world, task)) - num_before
    return Lags(tuple(seconds), num_batches - len(seconds), max(num_runs - len(seconds), 0), 0)


def _push(world: World, task: str) -> datetime:
    """One label; equal shards would count once."""
    began_at = datetime.now(UTC)
    world.labels.put_shard(task, secrets.token_hex(32).encode(), num_labels=1)
    return began_at


def _wait_new_run(world: World, task: str, *, num_known: int) -> RunState | None:
    deadline = time.monotonic() + _MISSED_AFTER_S
    while time.monotonic() < deadline:
        if len(runs := _list_runs(world, task)) > num_known:
            return runs[0]
        time.sleep(0.05)
    return None


def _list_runs(world: World, task: str) -> Sequence[RunState]:
    return world.pipelines.list_runs(experiment=task, limit=1000)


def _is_idle(world: World, task: str) -> bool:
    """No run under way, as the sensor sees it."""
    row = next(row for row in world.sensor.fetch_status() if row["task"] == task)
    return row["outcome"] == "skip" and row["code"] == "short"
