"""One policy over one world, many rollouts at once: how each ended, when, and what it cost its users."""

from dataclasses import dataclass

import numpy as np

from benchmarks.rollout.batch import judge_batch
from benchmarks.rollout.batch_memory import (
    DARK,
    INCONCLUSIVE,
    LIVE,
    PROMOTED,
    ROLLED_BACK,
    WITHDRAWN,
    begin_batch,
    window_of,
)
from benchmarks.rollout.worlds import BIN_EDGES_MS, GATEWAY_BUCKETS_MS, Numbers, Seen, Traffic, World
from ratchet.core.rollout.policy import RolloutPolicy

BASELINE_REQUESTS = 500
"""Stable's requests before the rollout, which the gateway still knows: they say what slow is."""


@dataclass(frozen=True)
class Ends:
    """How the rollouts of one world ended; arrays over the rollouts."""

    name: str
    outcome: Numbers
    """PROMOTED, ROLLED_BACK, INCONCLUSIVE, or what it was in when the simulated time was over."""
    withdrawn_s: Numbers
    """When live traffic was first taken away (withdrawn or rolled back), infinite when never."""
    withdrawn_live: Numbers
    """Canary requests of users until then, or until the end."""
    was_live: Numbers
    """Whether it lost live traffic, and not only the hope of it: the dark phase also withdraws."""
    ended_s: Numbers

    def share_of(self, *outcomes: int) -> float:
        return float(np.isin(self.outcome, outcomes).mean())

    @property
    def withdrawn_share(self) -> float:
        return float(np.isfinite(self.withdrawn_s).mean())


def run_judge(world: World, policy: RolloutPolicy, *, num: int, seed: int, look_s: float, limit_s: float) -> Ends:
    """Our judge, until every rollout is over or `limit_s` has passed."""
    traffic, batch, rows = Traffic(world, num, seed=seed), begin_batch(num, policy), np.arange(num)
    edges_ms = np.array(GATEWAY_BUCKETS_MS, dtype=float) if world.is_coarse else BIN_EDGES_MS
    baseline = _Baseline(traffic.before_the_rollout(BASELINE_REQUESTS), policy, edges_ms=edges_ms)
    outcome, ended_s = np.full(num, DARK), np.full(num, np.inf)
    withdrawn_s, withdrawn_live, live = np.full(num, np.inf), np.zeros(num), np.zeros(num)
    was_live = np.zeros(num, dtype=bool)
    for look in range(1, int(limit_s / look_s) + 1):
        at_s = np.full(len(rows), look * look_s)
        is_live = batch.phase == LIVE
        share = np.where(is_live, np.array(policy.judged_steps)[batch.step] / 100, 0.0)
        seen = traffic.see(rows, at_s=at_s, look_s=look_s, share=share, mirrored=~is_live)
        window = window_of(seen, *baseline.bins_of(rows))
        live[rows] += seen.canary * is_live
        batch = judge_batch(batch, window, at_s, policy)
        lost = np.isin(batch.action, (WITHDRAWN, ROLLED_BACK)) & np.isinf(withdrawn_s[rows])
        withdrawn_s[rows[lost]], withdrawn_live[rows[lost]] = look * look_s, live[rows[lost]]
        was_live[rows[lost]] = is_live[lost]
        outcome[rows] = batch.phase
        is_over = np.isin(batch.phase, (PROMOTED, ROLLED_BACK, INCONCLUSIVE))
        ended_s[rows[is_over]] = look * look_s
        rows, batch = rows[~is_over], batch.take(np.flatnonzero(~is_over))
        if not len(rows):
            break
    withdrawn_live = np.where(np.isinf(withdrawn_s), live, withdrawn_live)
    return Ends(world.name, outcome, withdrawn_s, withdrawn_live, was_live, ended_s)


class _Baseline:
    """The latency limits of each rollout as numbers of bins, from stable's requests before it."""

    def __init__(self, seen: Seen, policy: RolloutPolicy, *, edges_ms: Numbers) -> None:
        self._slow, self._late, self._very_slow = all_limit_bins(seen.stable_bins, policy, edges_ms=edges_ms)

    def bins_of(self, rows: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Slow, late and very slow bin of each, and that they are known."""
        return self._slow[rows], self._late[rows], self._very_slow[rows], np.ones(len(rows), dtype=bool)


def all_limit_bins(bins: Numbers, policy: RolloutPolicy, *, edges_ms: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """The bins whose upper edges are the slow, late and very slow limits of `latency_limits_of` for this histogram.

    Where very slow ones cannot be told from slow ones, a bin beyond all others: none is counted.
    """
    floor_ms, factor = policy.latency_limit_ms or 0.0, policy.latency_limit_factor or 1.0
    slow = limit_bins(bins, factor, policy.latency_limit_quantile, floor_ms=floor_ms, edges_ms=edges_ms)
    late = limit_bins(bins, factor, policy.latency_late_quantile, floor_ms=floor_ms, edges_ms=edges_ms)
    very_slow = limit_bins(
        bins,
        policy.latency_very_slow_factor or np.inf,
        policy.latency_late_quantile,
        floor_ms=policy.latency_very_slow_ms,
        edges_ms=edges_ms,
    )
    return slow, np.minimum(slow, late), np.where(very_slow > slow, very_slow, bins.shape[1])


def limit_bins(bins: Numbers, factor: float, quantile: float, *, floor_ms: float, edges_ms: Numbers) -> Numbers:
    """One of them: near so many times a quantile, and not under the floor."""
    below = bins.cumsum(axis=1)[:, np.searchsorted(BIN_EDGES_MS, edges_ms)]
    needed = quantile * bins.sum(axis=1)
    at = np.where(below[:, -1] >= needed, (below >= needed[:, None]).argmax(axis=1), len(edges_ms) - 1)
    rows = np.arange(len(bins))
    lower_ms = np.where(at > 0, edges_ms[at - 1], edges_ms[0] / 2)
    num_lower = np.where(at > 0, below[rows, at - 1], 0)
    share = (needed - num_lower) / np.maximum(below[rows, at] - num_lower, 1)
    quantile_ms = lower_ms * (edges_ms[at] / lower_ms) ** np.minimum(share, 1)
    limit_ms = np.maximum(floor_ms, factor * quantile_ms)
    allowed = edges_ms[edges_ms >= floor_ms]
    nearest = np.abs(np.log(allowed / limit_ms[:, None])).argmin(axis=1)
    return np.asarray(np.searchsorted(BIN_EDGES_MS, allowed[nearest]))
