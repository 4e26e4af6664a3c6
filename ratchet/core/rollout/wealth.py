"""What the windows so far prove: for each metric a fast test, a slow test and bounds, all valid at every look. Pure.

**Fast test** (withdraws traffic, which can be undone): wealth of bets that the canary fails more often than stable in
the same window (betting.log_gain). Near-optimal: within twice the requests of Wald's test, which knows both ratios
(benchmarks/rollout). It takes requests for independent, so a burst of errors on the canary alone can look like harm.

**Slow test** (condemns): one vote for each block of `burst_s`, over cohorts of equal size (betting.vote), so a burst
has one vote however many requests it hits. Besides, harm that no burst explains (`error_gross`) condemns by the bounds
of sequential.py, and so does a row of errors without a success, once bets that the canary fails altogether while stable
answers the same kind of requests have won (`row_wealth_after`): where a client breaks both revisions alike they win
nothing, however long the row.

**Bounds** (advance): harm proven to be under the margin, from everything since the beginning, or since the withdrawal;
stable weighted as the canary is over phases and steps, since they split the traffic differently (sequential.beside).

How the alphas are spent:

- `alpha_withdraw` covers one stay in live traffic. Any one of four metrics withdraws, so it is split (union bound):
  errors 65 %, latency 25 %, delayed accuracy and agreement 5 % each. Over looks and steps it is not split: the
  wealth runs on. Very slow requests are as good as failed, so the test of errors bets on them as well: a fifth of its
  wealth begins on them (`failure_log_e`).
- `alpha_condemn` covers the rollout and is split over the votes on errors (25 %), latency (25 %) and very slow requests
  (10 %), a row of errors (10 %), gross harm in errors and latency (10 % each, again over at most 8 phases, since its
  counts begin anew in each), and delayed accuracy (10 %).
- `alpha_advance`: a promotion needs every metric at every step to be proven harmless, so each may use all of it: the
  promotion of a harmful canary needs the bound of the metric that it harms to fail (intersection-union, Berger 1982).
  Within a bound it goes 4:1 to canary and stable, since the canary has fewer requests.
- `alpha_share` is the share test's own: a suspicion against the gateway holds, and neither withdraws nor condemns.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from ratchet.core.rollout.betting import (
    VOTE_STAKES,
    Bets,
    Counts,
    Numbers,
    bet_on,
    bet_on_votes,
    capped,
    log_gain,
    log_sum,
    start_wealth,
    vote,
)
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.window import ArmWindow, Window

WITHDRAW_SHARE = {"errors": 0.65, "slow": 0.25, "accuracy": 0.05, "agreement": 0.05}
CONDEMN_SHARE = {
    "errors": 0.25,
    "slow": 0.25,
    "very_slow": 0.1,
    "row": 0.1,
    "gross_errors": 0.1,
    "gross_slow": 0.1,
    "accuracy": 0.1,
}
VERY_SLOW_SHARE = 0.2
"""Of the wealth of the test of errors, at the beginning: what it costs the bets on errors is 0.2 of its logarithm."""
NUM_PHASES = 8
"""Phases, at most, among which the alpha of gross harm is split."""
VOTE_REQUESTS_MIN = 10
"""Requests of each arm without which a block waits on, however long it lasts."""

BEYOND = 3.0
"""Log wealth beyond the limit that is kept: once a burst is over, a withdrawn canary must be able to show it."""
BET_REQUESTS = 8
BET_S = 5.0
"""Windows are put together until the canary has so many requests, or has any and so much time is over: single requests
lose what the other arm's requests of the same moment say, which costs a fifth of the power."""

_ROUNDING_S = 1e-9
"""Differences of times that are equal on paper may fall short by so much."""
DIGITS = 10
"""Of a log wealth after the point."""

BET_SHARES = (0.45, 0.35, 0.2)
LATENCY_BET_SHARES = (0.15, 0.15, 0.05, 0.25, 0.3, 0.1)
"""The first three are on slow requests, the others on late ones, where a shift of all requests shows first."""
ROW_HARM = 0.95
"""A revision that fails altogether."""
VOTE_SHARES = tuple(np.full(len(VOTE_STAKES), 1 / len(VOTE_STAKES)).tolist())
ERROR_START, LATENCY_START, VOTE_START, ROW_START, VERY_SLOW_START = (
    start_wealth(shares) for shares in (BET_SHARES, LATENCY_BET_SHARES, VOTE_SHARES, (1.0,), BET_SHARES)
)


class Guess(NamedTuple):
    """What is thought of stable before its first request, worth so many requests; and the least ever thought."""

    ratio: float
    num: float
    ratio_min: float


ERROR_GUESS = Guess(ratio=0.003, num=100.0, ratio_min=0.003)
"""Not less: else two or three errors would be proof, and with 0.2 % the floor costs 2 % of the power."""
SLOW_GUESS = Guess(ratio=0.03, num=30.0, ratio_min=0.005)
LATE_GUESS = Guess(ratio=0.15, num=30.0, ratio_min=0.005)


def error_bets(policy: RolloutPolicy) -> Bets:
    """Bets start at the margin: less harm than that is not worth a withdrawal."""
    return Bets(harms=tuple(min(policy.error_margin * times, 0.9) for times in (1, 2.5, 10)), shares=BET_SHARES)


def latency_bets(policy: RolloutPolicy) -> tuple[Bets, Bets]:
    """On slow requests, and on late ones."""
    slow = tuple(min(policy.slow_margin * times, 0.9) for times in (1, 3, 8))
    late = tuple(min(policy.slow_margin * times, 0.9) for times in (2, 5, 9))
    return Bets(harms=slow, shares=BET_SHARES), Bets(harms=late, shares=BET_SHARES)


def guess_of(guess: Guess, *, num_bad: Numbers, num: Numbers) -> Numbers:
    """Stable's ratio as far as earlier windows tell."""
    return np.maximum((num_bad + guess.ratio * guess.num) / (num + guess.num), guess.ratio_min)


class Totals(NamedTuple):
    """What stable did in the windows before this one; arrays."""

    errors: Numbers
    requests: Numbers
    slow: Numbers
    late: Numbers
    very_slow: Numbers
    timed: Numbers


def error_wealth_after(log_wealth: Numbers, window: Counts, before: Totals, policy: RolloutPolicy) -> Numbers:
    ratio = guess_of(ERROR_GUESS, num_bad=before.errors, num=before.requests)
    gains = log_gain(window, stable_ratio=ratio, harms=error_bets(policy).harms)
    after = bet_on(log_wealth, gains, window.canary, start=ERROR_START)
    return capped(after, withdraw_limit("errors", policy) + BEYOND)


def very_slow_wealth_after(log_wealth: Numbers, window: Counts, before: Totals, policy: RolloutPolicy) -> Numbers:
    """As `error_wealth_after`, of requests that took so long that they are as good as failed."""
    ratio = guess_of(ERROR_GUESS, num_bad=before.very_slow, num=before.timed)
    gains = log_gain(window, stable_ratio=ratio, harms=error_bets(policy).harms)
    after = bet_on(log_wealth, gains, window.canary, start=VERY_SLOW_START)
    return capped(after, withdraw_limit("errors", policy) + BEYOND)


def failure_log_e(error_wealth: Numbers, very_slow_wealth: Numbers) -> Numbers:
    """The whole log wealth of the test of errors: bets on errors and on very slow requests, from one purse.

    A mean of e-processes with weights fixed beforehand is one itself (Vovk & Wang, "E-values", Ann. Stat. 49, 2021).
    """
    errors = log_sum(error_wealth) + np.log1p(-VERY_SLOW_SHARE)
    return np.asarray(np.logaddexp(errors, log_sum(very_slow_wealth) + np.log(VERY_SLOW_SHARE)))


def row_wealth_after(log_wealth: Numbers, window: Counts, before: Totals, policy: RolloutPolicy) -> Numbers:
    """The tripwire's evidence: one bet, that the canary fails altogether while stable fails as often as before.

    As every bet of `log_gain` it wins nothing in the mean where both fail alike, whatever share of the requests that is
    and however it changes from window to window; so chance alone takes it to the limit in at most a share
    `alpha_condemn * CONDEMN_SHARE["row"]` of rollouts (Ville 1939). Without requests of stable in the same window it
    neither wins nor loses.
    """
    ratio = guess_of(ERROR_GUESS, num_bad=before.errors, num=before.requests)
    gains = log_gain(window, stable_ratio=ratio, harms=(ROW_HARM,))
    after = bet_on(log_wealth, gains, window.canary, start=ROW_START)
    return capped(after, condemn_limit("row", policy) + BEYOND)


def latency_wealth_after(
    log_wealth: Numbers, slow: Counts, late: Counts, before: Totals, policy: RolloutPolicy
) -> Numbers:
    slow_bets, late_bets = latency_bets(policy)
    slow_ratio = guess_of(SLOW_GUESS, num_bad=before.slow, num=before.timed)
    late_ratio = guess_of(LATE_GUESS, num_bad=before.late, num=before.timed)
    gains = np.concatenate(
        (
            log_gain(slow, stable_ratio=slow_ratio, harms=slow_bets.harms),
            log_gain(late, stable_ratio=late_ratio, harms=late_bets.harms),
        ),
        axis=-1,
    )
    after = bet_on(log_wealth, gains, slow.canary, start=LATENCY_START)
    return capped(after, withdraw_limit("slow", policy) + BEYOND)


def votes_after(log_votes: Numbers, block: Counts, *, tolerance: float) -> Numbers:
    return bet_on_votes(log_votes, vote(block, tolerance=tolerance))


def has_vote(block: Counts, *, lasted_s: Numbers, burst_s: float) -> npt.NDArray[np.bool_]:
    """Whether a block is over: long enough for a burst, and enough requests of both arms to compare."""
    return (lasted_s >= burst_s - _ROUNDING_S) & (np.minimum(block.canary, block.stable) >= VOTE_REQUESTS_MIN)


def has_bet(num_canary: Numbers, *, lasted_s: Numbers) -> npt.NDArray[np.bool_]:
    """Whether enough has come together to bet on."""
    return (num_canary >= BET_REQUESTS) | ((num_canary > 0) & (lasted_s >= BET_S - _ROUNDING_S))


def withdraw_limit(metric: str, policy: RolloutPolicy) -> float:
    """The log wealth at which a metric withdraws."""
    return float(-np.log(policy.alpha_withdraw * WITHDRAW_SHARE[metric]))


def condemn_limit(metric: str, policy: RolloutPolicy) -> float:
    """The log wealth at which a metric condemns."""
    return float(-np.log(policy.alpha_condemn * CONDEMN_SHARE[metric]))


def gross_alpha(metric: str, policy: RolloutPolicy) -> float:
    return policy.alpha_condemn * CONDEMN_SHARE[f"gross_{metric}"] / NUM_PHASES


class Block(BaseModel):
    """What counts for one vote so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    began_s: float = 0.0
    canary_bad: int = 0
    canary: int = 0
    stable_bad: int = 0
    stable: int = 0

    @property
    def counts(self) -> Counts:
        return Counts(*(as_batch(value) for value in (self.canary_bad, self.canary, self.stable_bad, self.stable)))


class Votes(BaseModel):
    """The slow test of one metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_wealth: tuple[float, ...] = tuple(VOTE_START.tolist())
    num_votes: int = 0
    """For people who read a record."""
    block: Block = Block()

    def after(self, window: tuple[int, int, int, int], *, at_s: float, tolerance: float, burst_s: float) -> "Votes":
        """With one more window: canary's bad requests and requests, then stable's."""
        names = ("canary_bad", "canary", "stable_bad", "stable")
        grown = {name: getattr(self.block, name) + more for name, more in zip(names, window, strict=True)}
        longer = self.model_copy(update={"block": self.block.model_copy(update=grown)})
        is_over = has_vote(longer.block.counts, lasted_s=as_batch(at_s - self.block.began_s), burst_s=burst_s)
        return longer.closed(at_s=at_s, tolerance=tolerance) if bool(is_over[0]) else longer

    def closed(self, *, at_s: float, tolerance: float) -> "Votes":
        """The block has its vote, if both arms have requests, and a new one begins."""
        if min(self.block.canary, self.block.stable) < VOTE_REQUESTS_MIN:
            return self.discarded(at_s=at_s)
        wealth = votes_after(wealth_of(self.log_wealth), self.block.counts, tolerance=tolerance)
        return Votes(log_wealth=as_tuple(wealth), num_votes=self.num_votes + 1, block=Block(began_s=at_s))

    def discarded(self, *, at_s: float) -> "Votes":
        return self.model_copy(update={"block": Block(began_s=at_s)})


def as_batch(value: float) -> Numbers:
    return np.array([float(value)])


def wealth_of(log_wealth: tuple[float, ...]) -> Numbers:
    return np.array([log_wealth])


def as_tuple(log_wealth: Numbers) -> tuple[float, ...]:
    """As it is remembered: rounded, because the last bits of a logarithm differ between processors."""
    return tuple(round(value, DIGITS) for value in log_wealth[0].tolist())


def total_of(log_wealth: tuple[float, ...]) -> float:
    return round(float(log_sum(np.array(log_wealth))), DIGITS)


def counts_of(window: Window, bad: str, num: str) -> Counts:
    """One metric of a window, as a batch of one."""
    values = (getattr(arm, name) for arm in (window.canary, window.stable) for name in (bad, num))
    return Counts(*(as_batch(value) for value in values))


def totals_of(stable: ArmWindow) -> Totals:
    values = (stable.num_errors, stable.num_requests, stable.num_slow, stable.num_late)
    return Totals(*(as_batch(value) for value in (*values, stable.num_very_slow, stable.num_timed)))
