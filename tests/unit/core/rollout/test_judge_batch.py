"""The simulator judges as the judge does: same worlds, look by look, the same decisions and the same wealth."""

import numpy as np
import pytest

from benchmarks.rollout.batch import judge_batch
from benchmarks.rollout.batch_memory import (
    COLUMNS,
    DARK,
    INCONCLUSIVE,
    LIVE,
    PROMOTED,
    ROLLED_BACK,
    WITHDRAWN,
    begin_batch,
    window_of,
)
from benchmarks.rollout.runs import all_limit_bins
from benchmarks.rollout.worlds import BIN_EDGES_MS, GATEWAY_BUCKETS_MS, Numbers, Traffic, World
from ratchet.core.ports import RevisionCounts
from ratchet.core.rollout.history import judge_look
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Look, Progress, begin
from ratchet.core.rollout.window import ArmWindow, Window, latency_limits_of

pytestmark = pytest.mark.slow

NAMES = {
    DARK: "dark",
    LIVE: "live",
    WITHDRAWN: "withdrawn",
    PROMOTED: "promoted",
    ROLLED_BACK: "rolled_back",
    INCONCLUSIVE: "inconclusive",
}
POLICY = RolloutPolicy(burst_s=20, hold_s_max=120, withdrawn_s_max=150, dark_s_max=60)
NUM = 5
VOTES = ("error_votes", "slow_votes", "very_slow_votes")
WEALTH = ("error_wealth", "latency_wealth", "very_slow_wealth", "row_wealth", "share_wealth", *VOTES)


def window_at(row: Numbers) -> Window:
    of = dict(zip(COLUMNS, row.astype(int).tolist(), strict=True))
    arms = {
        name: ArmWindow(
            num_requests=of[name],
            num_errors=of[f"{name}_errors"],
            num_timed=of[f"{name}_timed"],
            num_slow=of[f"{name}_slow"],
            num_late=of[f"{name}_late"],
            num_very_slow=of[f"{name}_very_slow"],
        )
        for name in ("canary", "stable")
    }
    return Window(**arms)


def wealth_of(progress: Progress, name: str) -> tuple[float, ...]:
    found = getattr(progress, name)
    return found if isinstance(found, tuple) else found.log_wealth


@pytest.mark.parametrize("dark_requests", [0, 300])
@pytest.mark.parametrize(
    "world",
    [
        World("healthy"),
        World("bursts", burst_shape=0.2, error_ratio=0.02),
        World("worse", more_errors=0.05),
        World("broken", more_errors=0.5),
        World("fails altogether", more_errors=0.99),
        World("broken by a client", client_errors=0.8),
        World("very slow", very_slow=0.1),
        World("slower", latency_factor=1.5, is_diurnal=True),
        World("little traffic", requests_per_s=0.5),
    ],
    ids=lambda world: world.name,
)
def test_the_batch_and_the_judge_agree(world: World, dark_requests: int) -> None:
    policy = POLICY.model_copy(update={"dark_requests": dark_requests})
    traffic, batch, rows = Traffic(world, NUM, seed=7), begin_batch(NUM, policy), np.arange(NUM)
    progress = [begin(policy)] * NUM
    bins = np.full(NUM, 28), np.full(NUM, 24), np.full(NUM, 46), np.ones(NUM, dtype=bool)
    for look in range(1, 90):
        at_s = np.full(len(rows), 3.0 * look)
        is_live = batch.phase == LIVE
        share = np.where(is_live, np.array(policy.judged_steps)[batch.step] / 100, 0)
        seen = traffic.see(rows, at_s=at_s, look_s=3.0, share=share, mirrored=~is_live)
        window = window_of(seen, *(each[rows] for each in bins))
        batch = judge_batch(batch, window, at_s, policy)
        for i, row in enumerate(rows):
            after, judged = judge_look(progress[row], Look(at_s=3.0 * look, window=window_at(window[i])), policy)
            progress[row] = after
            assert (after.outcome or after.phase) == NAMES[int(batch.phase[i])], (look, judged.decision.text)
            for name in WEALTH:
                np.testing.assert_allclose(wealth_of(after, name), getattr(batch, name)[i], rtol=1e-7, atol=1e-7)
        is_on = batch.phase < PROMOTED
        rows, batch = rows[is_on], batch.take(np.flatnonzero(is_on))
        if not len(rows):
            return


@pytest.mark.parametrize("edges", [BIN_EDGES_MS, np.array(GATEWAY_BUCKETS_MS, dtype=float)], ids=["fine", "gateway"])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_the_simulated_latency_limits_are_those_of_the_judge(edges: Numbers, sigma: float) -> None:
    policy = RolloutPolicy()
    bins = Traffic(World("any", latency_sigma=sigma), 20, seed=3).before_the_rollout(500).stable_bins
    slow, late, very_slow = (BIN_EDGES_MS[each] for each in all_limit_bins(bins, policy, edges_ms=edges))
    for i, below in enumerate(bins.cumsum(axis=1)):
        histogram = {float(edge): int(below[np.searchsorted(BIN_EDGES_MS, edge)]) for edge in edges}
        limits = latency_limits_of(RevisionCounts(num_by_latency_ms={**histogram, float("inf"): 500}), policy)
        assert limits == pytest.approx((slow[i], late[i], very_slow[i]))
