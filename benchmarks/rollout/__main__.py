"""How often the judge is wrong and how fast it is right: `python -m benchmarks.rollout [--quick]`.

Flagger's default policy and a Mann-Whitney judge like Kayenta's run on the same worlds (same seeds, same bursts), each
with its own routing; Wald's test, which knows the true rates, is what no test can beat. The full run takes 10,000
healthy rollouts of each kind, the quick one 200, and leaves out the worlds without a goal.
"""

import argparse
import json
import time
from typing import Any, NamedTuple

import numpy as np

from benchmarks.rollout.batch_memory import INCONCLUSIVE, PROMOTED, ROLLED_BACK
from benchmarks.rollout.peers import PeerEnds, run_flagger, run_mann_whitney, wald_of
from benchmarks.rollout.runs import Ends, run_judge
from benchmarks.rollout.worlds import World
from ratchet.core.rollout.policy import RolloutPolicy

POLICY = RolloutPolicy()
LIVE_ONLY = POLICY.model_copy(update={"dark_requests": 0, "warm_up_requests": 0})
"""No mirroring: each request of the canary is a user's, as Wald counts them."""
_SEED = 20_260_101
_FALSE_ROLLBACK_MAX, _FALSE_WITHDRAWAL_MAX, _POWER_MIN, _WALD_TIMES_MAX = 0.01, 0.05, 0.99, 2.0
_LIMIT_S = 4000.0


class Scene(NamedTuple):
    """A world, how often it is looked at, and whether the issue sets a goal for it."""

    world: World
    look_s: float
    has_goal: bool = True
    num_max: int = 10_000
    """A rollout that ends only when its time is over takes as long to simulate as twenty others."""
    is_quick: bool = True


HEALTHY = (
    Scene(World("steady"), 2.0),
    Scene(World("diurnal", is_diurnal=True), 2.0),
    Scene(World("bursts in one arm", burst_shape=0.2), 2.0),
    Scene(World("shocks in both arms", shared_shape=0.2), 2.0),
    Scene(World("heavy tail in both, 3 % at 100 times", very_slow_both=0.03), 2.0, num_max=2_000),
    Scene(World("low traffic, 10/min", requests_per_s=1 / 6), 30.0),
    Scene(World("low traffic, 60/min", requests_per_s=1.0), 10.0),
)
CLIENTS = (
    Scene(World("a client breaks 4 of 5, 5xx", client_errors=0.8), 5.0, num_max=2_000),
    Scene(World("a client breaks 1 of 5, 5xx", client_errors=0.2), 5.0, num_max=2_000, is_quick=False),
    Scene(World("a client breaks 19 of 20, 5xx", client_errors=0.95), 5.0, num_max=2_000, is_quick=False),
    Scene(World("a client breaks 4 of 5, 4xx", client_refusals=0.8), 5.0, num_max=2_000),
)
"""Either revision alike, in every other minute. Among 5xx no difference of 2 points can be excluded within the time."""
LIMITS = (
    Scene(World("bursts, 80/s", requests_per_s=80.0, burst_shape=0.2), 0.5, has_goal=False),
    Scene(World("bursts, 1 % errors", error_ratio=0.01, burst_shape=0.2), 2.0, has_goal=False),
    Scene(World("steady, 3 % errors", error_ratio=0.03), 2.0, has_goal=False),
)
WORSE = (
    Scene(World("+2 pp errors", more_errors=0.02), 1.0),
    Scene(World("+5 pp errors", more_errors=0.05), 1.0),
    Scene(World("3 % take 100 times as long", very_slow=0.03), 1.0),
    Scene(World("3 % more than 3 % in both", very_slow=0.03, very_slow_both=0.03), 1.0, has_goal=False),
    Scene(World("+50 % p95 latency", latency_factor=1.5), 1.0),
    Scene(World("+50 % p95, wide", latency_factor=1.5, latency_sigma=1.0), 1.0, has_goal=False),
    Scene(World("+50 % p95, coarse buckets", latency_factor=1.5, is_coarse=True), 1.0, has_goal=False),
    Scene(World("+20 pp errors", more_errors=0.2), 1.0, has_goal=False),
    Scene(World("fails altogether", more_errors=0.998), 1.0, has_goal=False),
    Scene(World("fails altogether beside a client", more_errors=0.998, client_errors=0.8), 1.0, has_goal=False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the rollout judge on simulated traffic.")
    parser.add_argument(
        "--quick", action="store_true", help="under a minute: few rollouts, and only the worlds with a goal"
    )
    is_quick = parser.parse_args().quick
    num_healthy, num_worse = (200, 60) if is_quick else (10_000, 2_000)
    began = time.perf_counter()
    healthy, worse = (*HEALTHY, *CLIENTS, *LIMITS), WORSE
    rows = [
        row
        for scene in healthy
        if not is_quick or (scene.has_goal and scene.is_quick)
        for row in measure_healthy(scene, num=min(num_healthy, scene.num_max))
    ]
    rows += [row for scene in worse if scene.has_goal or not is_quick for row in measure_worse(scene, num=num_worse)]
    print(f"{time.perf_counter() - began:.0f} s")
    print(json.dumps(rows))


def measure_healthy(scene: Scene, *, num: int) -> list[dict[str, Any]]:
    """False rollbacks and withdrawals of canaries that are as good as stable."""
    world = scene.world
    ends = run_judge(world, POLICY, num=num, seed=_SEED, look_s=scene.look_s, limit_s=_LIMIT_S)
    flagger, kayenta = run_flagger(world, num=num, seed=_SEED), run_mann_whitney(world, num=num, seed=_SEED)
    false_rollback = ends.share_of(ROLLED_BACK)
    _print_row(
        f"healthy: {world.name}",
        f"rolled back {false_rollback:.2%}, withdrawn {ends.withdrawn_share:.2%}, "
        f"promoted {ends.share_of(PROMOTED):.1%}, inconclusive {ends.share_of(INCONCLUSIVE):.1%}, "
        f"median {np.median(ends.ended_s):.0f} s",
        _peers_text(flagger, kayenta),
    )
    peer = float(flagger.rolled_back.mean())
    goals = (_FALSE_ROLLBACK_MAX, _FALSE_WITHDRAWAL_MAX) if scene.has_goal else (None, None)
    return [
        _row(f"false_rollback:{world.name}", false_rollback, "share", peer=peer, goal=goals[0]),
        _row(f"false_withdrawal:{world.name}", ends.withdrawn_share, "share", peer=peer, goal=goals[1]),
        _row(f"promoted:{world.name}", ends.share_of(PROMOTED), "share", peer=1 - peer),
    ]


def measure_worse(scene: Scene, *, num: int) -> list[dict[str, Any]]:
    """How surely, and after how many requests, a canary that is worse loses its traffic."""
    world = scene.world
    live = run_judge(world, LIVE_ONLY, num=num, seed=_SEED, look_s=scene.look_s, limit_s=_LIMIT_S)
    dark = run_judge(world, POLICY, num=num, seed=_SEED, look_s=2 * scene.look_s, limit_s=_LIMIT_S)
    flagger, kayenta = run_flagger(world, num=num, seed=_SEED), run_mann_whitney(world, num=num, seed=_SEED)
    requests, wald = _requests_to_withdraw(live), wald_of(world, POLICY)
    condemned_s = live.ended_s[live.outcome == ROLLED_BACK]
    power = live.withdrawn_share - live.share_of(PROMOTED)
    _print_row(
        f"worse: {world.name}",
        f"withdrawn {live.withdrawn_share:.1%} after {requests:.0f} requests "
        f"({requests / wald:.2f} x Wald's {wald:.0f}), {_mean_of(live.withdrawn_s):.0f} s; "
        f"condemned {live.share_of(ROLLED_BACK):.1%} after {_mean_of(condemned_s):.0f} s; "
        f"promoted {live.share_of(PROMOTED):.1%}; with a dark phase "
        f"{_requests_to_withdraw(dark):.0f} requests of users, promoted {dark.share_of(PROMOTED):.1%}",
        _peers_text(flagger, kayenta),
    )
    has = scene.has_goal
    return [
        _row(f"power:{world.name}", power, "share", goal=_POWER_MIN if has else None, is_floor=True),
        _row(
            f"requests_to_withdraw:{world.name}",
            requests,
            "requests",
            peer=wald,
            goal=_WALD_TIMES_MAX * wald if has else None,
        ),
        _row(
            f"promoted_dark:{world.name}", dark.share_of(PROMOTED), "share", peer=1 - float(flagger.rolled_back.mean())
        ),
    ]


def _requests_to_withdraw(ends: Ends) -> float:
    """In the mean; a rollout that never lost its traffic counts with all the users that it had by the end."""
    return float(ends.withdrawn_live.mean())


def _mean_of(seconds: Any) -> float:
    finite = seconds[np.isfinite(seconds)]
    return float(finite.mean()) if len(finite) else float("inf")


def _peers_text(flagger: PeerEnds, kayenta: PeerEnds) -> str:
    return (
        f"Flagger rolls back {flagger.rolled_back.mean():.1%} ({flagger.requests.mean():.0f} requests, "
        f"{flagger.seconds.mean():.0f} s), Mann-Whitney {kayenta.rolled_back.mean():.1%} "
        f"({kayenta.requests.mean():.0f} requests, {kayenta.seconds.mean():.0f} s)"
    )


def _print_row(name: str, ours: str, peers: str) -> None:
    print(f"{name}\n    ours: {ours}\n    {peers}", flush=True)


def _row(
    name: str, value: float, unit: str, *, peer: float | None = None, goal: float | None = None, is_floor: bool = False
) -> dict[str, Any]:
    is_ok = None if goal is None else (value >= goal if is_floor else value <= goal)
    ratio = round(value / peer, 4) if peer else None
    return {
        "name": name,
        "value": round(value, 5),
        "unit": unit,
        "peer": None if peer is None else round(peer, 5),
        "ratio": ratio,
        "goal": None if goal is None else round(goal, 5),
        "ok": is_ok,
    }


if __name__ == "__main__":
    main()
