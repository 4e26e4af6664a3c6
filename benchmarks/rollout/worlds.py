"""Simulated traffic: error ratios and latencies of both arms over time, and the counts that a look sees."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Numbers = npt.NDArray[Any]

GATEWAY_BUCKETS_MS = (0.5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)
"""The latency buckets of the embedded gateway (embedded/gateway.py), and about those of Istio and Knative."""
BIN_EDGES_MS = np.union1d(np.geomspace(20.0, 2000.0, 48), GATEWAY_BUCKETS_MS)
"""Latency bins, about 10 % apart, so that the table shows the judge and not the buckets."""
NUM_BINS = len(BIN_EDGES_MS) + 1
_MEDIAN_MS = 100.0
BURST_S = 60.0
_VERY_SLOW_TIMES = 100.0


@dataclass(frozen=True)
class World:
    """One kind of rollout: what stable does, and what the canary does besides."""

    name: str
    requests_per_s: float = 10.0
    error_ratio: float = 0.002
    more_errors: float = 0.0
    """Added to the canary's error ratio."""
    latency_factor: float = 1.0
    """The canary's latencies over stable's, all of them: so also its 95th percentile."""
    latency_sigma: float = 0.5
    """Of the logarithm of a latency: lognormal."""
    burst_shape: float = 0.0
    """Errors of each arm by itself are multiplied by a gamma of this shape and mean 1 each minute; 0 for never."""
    shared_shape: float = 0.0
    """The same for both arms at once."""
    client_errors: float = 0.0
    """Share of all requests that a client breaks in either revision alike (5xx), in every other minute."""
    client_refusals: float = 0.0
    """Share of all requests that either revision refuses (4xx), which the gateway counts apart."""
    very_slow: float = 0.0
    """Share of the canary's requests that take 100 times as long."""
    very_slow_both: float = 0.0
    """The same share of either revision's: a heavy tail."""
    is_coarse: bool = False
    """Latencies are seen in the gateway's buckets only."""
    is_diurnal: bool = False
    """Traffic, errors and latencies swing with a period of 10 minutes: a day pressed together."""

    @property
    def is_healthy(self) -> bool:
        return self.more_errors == 0 and self.latency_factor == 1.0 and self.very_slow == 0


@dataclass(frozen=True)
class Seen:
    """Counts of one look: requests and errors (num,), latencies by bin (num, NUM_BINS); both arms."""

    canary: Numbers
    canary_errors: Numbers
    canary_bins: Numbers
    stable: Numbers
    stable_errors: Numbers
    stable_bins: Numbers


class Traffic:
    """The world of `num` rollouts at once. The same seed gives the same bursts, whoever routes the traffic."""

    def __init__(self, world: World, num: int, *, seed: int, minutes_max: int = 70) -> None:
        bursts = np.random.default_rng((seed, 1))
        self._world = world
        self._rng = np.random.default_rng((seed, 2))
        self._factors: dict[Literal["canary", "stable"], Numbers] = {
            "canary": _gamma(bursts, world.burst_shape, (num, minutes_max)),
            "stable": _gamma(bursts, world.burst_shape, (num, minutes_max)),
        }
        self._shared = _gamma(bursts, world.shared_shape, (num, minutes_max))

    def see(self, rows: Numbers, *, at_s: Numbers, look_s: float, share: Numbers, mirrored: Numbers) -> Seen:
        """The look that ends at `at_s` of these rollouts: `share` of the requests live on the canary, or mirrored."""
        world, rng = self._world, self._rng
        wave = np.sin(2 * np.pi * at_s / 600.0) if world.is_diurnal else np.zeros(len(rows))
        total = rng.poisson(world.requests_per_s * look_s * (1 + 0.5 * wave) * (1 - world.client_refusals))
        live = rng.binomial(total, share)
        canary = np.where(mirrored, total, live)
        stable = total - live
        # A look that ends with a minute is of that minute.
        minute = np.minimum((at_s - 1e-6) // BURST_S, self._shared.shape[1] - 1).astype(int)
        ratio = world.error_ratio * (1 + 0.8 * wave) * self._shared[rows, minute]
        canary_ratio = np.minimum(ratio * self._factors["canary"][rows, minute] + world.more_errors, 1.0)
        stable_ratio = np.minimum(ratio * self._factors["stable"][rows, minute], 1.0)
        broken = world.client_errors * (minute % 2 == 0)
        canary_ratio, stable_ratio = (1 - (1 - each) * (1 - broken) for each in (canary_ratio, stable_ratio))
        swing = 0.3 * wave
        return Seen(
            canary=canary.astype(float),
            canary_errors=rng.binomial(canary, canary_ratio).astype(float),
            canary_bins=self._bins(canary, world.latency_factor, swing, very_slow=world.very_slow),
            stable=stable.astype(float),
            stable_errors=rng.binomial(stable, stable_ratio).astype(float),
            stable_bins=self._bins(stable, 1.0, swing),
        )

    def before_the_rollout(self, num_requests: int) -> Seen:
        """What the gateway has counted for stable, as one look of every rollout."""
        num = len(self._shared)
        nothing = np.zeros(num)
        bins = self._bins(np.full(num, num_requests), 1.0, nothing)
        return Seen(nothing, nothing, np.zeros_like(bins), bins.sum(axis=1), nothing, bins)

    def _bins(self, num: Numbers, factor: float, swing: Numbers, *, very_slow: float = 0.0) -> Numbers:
        swings = swing if self._world.is_diurnal else np.zeros(1)
        share = very_slow + self._world.very_slow_both
        shares = (1 - share) * bin_shares(self._world, factor, swings)
        shares += share * bin_shares(self._world, _VERY_SLOW_TIMES * factor, swings)
        return self._rng.multinomial(num, np.broadcast_to(shares, (len(num), NUM_BINS))).astype(float)


def bin_shares(world: World, factor: float, swing: Numbers) -> Numbers:
    """Probability of each latency bin, (len(swing), NUM_BINS)."""
    center = np.log(_MEDIAN_MS * factor) + np.log1p(swing)[:, None]
    below = norm.cdf((np.log(BIN_EDGES_MS) - center) / world.latency_sigma)
    edges = np.concatenate((np.zeros((len(below), 1)), below, np.ones((len(below), 1))), axis=1)
    return np.asarray(np.diff(edges, axis=1))


def _gamma(rng: np.random.Generator, shape: float, size: tuple[int, int]) -> Numbers:
    return rng.gamma(shape, 1 / shape, size) if shape else np.ones(size)
