"""The judge over many rollouts at once: the arithmetic of ratchet.core.rollout on arrays, its decisions as masks.

tests/unit/core/rollout/test_judge_batch.py holds this against `judge_look`, look by look. Left out is what these
worlds do not have: people, readiness, answers and labels, a metrics backend that is down.
"""

import numpy as np

from benchmarks.rollout.batch_memory import (
    _AT,
    DARK,
    ERRORS,
    INCONCLUSIVE,
    LATE,
    LIVE,
    PROMOTED,
    ROLLED_BACK,
    SLOW,
    VERY_SLOW,
    WITHDRAWN,
    Batch,
)
from benchmarks.rollout.worlds import Numbers
from ratchet.core.rollout.betting import Counts, log_gain_over, log_sum
from ratchet.core.rollout.evidence import GROSS_SHARE, advance_levels
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import SHARE_ODDS, SHARE_START, UNDER_WAY_S
from ratchet.core.rollout.sequential import beside, lower_bound, upper_bound
from ratchet.core.rollout.wealth import (
    ERROR_START,
    LATENCY_START,
    VERY_SLOW_START,
    VOTE_REQUESTS_MIN,
    Totals,
    condemn_limit,
    error_wealth_after,
    failure_log_e,
    gross_alpha,
    has_bet,
    has_vote,
    latency_wealth_after,
    row_wealth_after,
    very_slow_wealth_after,
    votes_after,
    withdraw_limit,
)


def judge_batch(batch: Batch, window: Numbers, at_s: Numbers, policy: RolloutPolicy) -> Batch:
    """`judge_look` for all of them. Rollouts that are over must have been taken out."""
    seen = _observe(batch, window, at_s, policy)
    is_condemned = _is_condemned(seen, policy)
    is_suspect = ~is_condemned & (seen.phase == LIVE) & _is_suspect(seen, policy)
    is_open = ~is_condemned & ~is_suspect
    goes_on = np.zeros(len(is_open), dtype=bool)
    rows = np.flatnonzero(is_open & _may_go_on(seen, policy))
    goes_on[rows] = _is_harmless(seen.take(rows), policy)
    is_dark = seen.phase == DARK
    goes_on = np.where(is_dark, is_open & _is_dark_over(seen, policy), goes_on)
    limit_s = np.where(seen.phase == WITHDRAWN, policy.withdrawn_s_max, policy.hold_s_max)
    is_late = is_open & ~goes_on & (seen.now_s - seen.began_s >= limit_s)
    return _follow(seen, is_condemned, is_suspect, goes_on, is_late, policy)


def _observe(batch: Batch, window: Numbers, at_s: Numbers, policy: RolloutPolicy) -> Batch:
    window = window.copy()
    window[batch.num_canary < policy.warm_up_requests, _AT["canary_slow"] :] = 0
    seen = batch.take(np.arange(len(window)))
    seen.now_s = at_s
    _bet(seen, window, policy)
    seen.share_wealth = _share_after(seen, window, policy)
    seen.total, seen.recent = batch.total + window, batch.recent + window
    seen.strata = batch.strata.copy()
    seen.strata[np.arange(len(window)), np.where(seen.phase == LIVE, 1 + seen.step, 0)] += window
    seen.num_canary = batch.num_canary + window[:, _AT["canary"]]
    seen.errors_in_a_row = _row_after(batch.errors_in_a_row, Counts(*window[:, ERRORS].T))
    seen.error_block, seen.slow_block = (
        batch.error_block + window[:, ERRORS],
        batch.slow_block + window[:, SLOW],
    )
    seen.very_slow_block = batch.very_slow_block + window[:, VERY_SLOW]
    for votes, block, since, tolerance in _tracks(policy):
        counts = Counts(*getattr(seen, block).T)
        is_over = has_vote(counts, lasted_s=at_s - getattr(seen, since), burst_s=policy.burst_s)
        _close(seen, np.flatnonzero(is_over), votes, block, since, tolerance)
    return seen


def _bet(seen: Batch, window: Numbers, policy: RolloutPolicy) -> None:
    """`seen.total` is without the newest window."""
    before = seen.total - seen.unbet
    seen.unbet = seen.unbet + window
    rows = np.flatnonzero(has_bet(seen.unbet[:, _AT["canary"]], lasted_s=seen.now_s - seen.bet_at_s))
    if not len(rows):
        return
    errors, slow, late, very_slow = (
        Counts(*seen.unbet[rows][:, columns].T) for columns in (ERRORS, SLOW, LATE, VERY_SLOW)
    )
    names = ("stable_errors", "stable", "stable_slow", "stable_late", "stable_very_slow", "stable_timed")
    totals = Totals(*(before[rows, _AT[name]] for name in names))
    seen.error_wealth[rows] = error_wealth_after(seen.error_wealth[rows], errors, totals, policy)
    seen.latency_wealth[rows] = latency_wealth_after(seen.latency_wealth[rows], slow, late, totals, policy)
    seen.very_slow_wealth[rows] = very_slow_wealth_after(seen.very_slow_wealth[rows], very_slow, totals, policy)
    seen.row_wealth[rows] = row_wealth_after(seen.row_wealth[rows], errors, totals, policy)
    seen.unbet[rows] = 0
    seen.bet_at_s[rows] = seen.now_s[rows]


def _tracks(policy: RolloutPolicy) -> tuple[tuple[str, str, str, float], ...]:
    return (
        ("error_votes", "error_block", "error_block_s", policy.error_tolerance),
        ("slow_votes", "slow_block", "slow_block_s", policy.slow_tolerance),
        ("very_slow_votes", "very_slow_block", "very_slow_block_s", policy.error_tolerance),
    )


def _close(seen: Batch, rows: Numbers, votes: str, block: str, since: str, tolerance: float) -> None:
    """These blocks have their vote, where both arms have enough requests, and new ones begin."""
    counts = getattr(seen, block)[rows]
    voting = np.minimum(counts[:, 1], counts[:, 3]) >= VOTE_REQUESTS_MIN
    if voting.any():
        wealth = getattr(seen, votes)
        wealth[rows[voting]] = votes_after(wealth[rows[voting]], Counts(*counts[voting].T), tolerance=tolerance)
    getattr(seen, block)[rows] = 0
    getattr(seen, since)[rows] = seen.now_s[rows]


def _share_after(seen: Batch, window: Numbers, policy: RolloutPolicy) -> Numbers:
    canary, stable = window[:, _AT["canary"]], window[:, _AT["stable"]]
    routed = np.array(policy.judged_steps)[seen.step][:, None] / 100
    ratios = SHARE_ODDS * routed / (1 - routed + SHARE_ODDS * routed)
    gains = log_gain_over(canary, canary + stable, ratio_max=routed, ratios=ratios)
    is_counted = (seen.phase == LIVE) & (seen.now_s - seen.began_s > UNDER_WAY_S)
    return np.where(is_counted[:, None], seen.share_wealth + gains, seen.share_wealth)


def _row_after(so_far: Numbers, errors: Counts) -> Numbers:
    is_blameless = (errors.canary == 0) | ((errors.stable > 0) & (errors.stable_bad == errors.stable))
    all_failed = errors.canary_bad == errors.canary
    return np.where(is_blameless, so_far, np.where(all_failed, so_far + errors.canary_bad, 0))


def _is_condemned(seen: Batch, policy: RolloutPolicy) -> Numbers:
    votes = np.zeros(len(seen.phase), dtype=bool)
    for metric, wealth in (
        ("errors", seen.error_votes),
        ("slow", seen.slow_votes),
        ("very_slow", seen.very_slow_votes),
    ):
        votes |= log_sum(wealth) >= condemn_limit(metric, policy)
    row = (seen.errors_in_a_row >= policy.tripwire_errors) & (log_sum(seen.row_wealth) >= condemn_limit("row", policy))
    return votes | row | _is_gross(seen, policy)


def _is_gross(seen: Batch, policy: RolloutPolicy) -> Numbers:
    """A bound lies beyond the ratio that it bounds, so only rollouts whose ratios are that far apart are bounded."""
    found = np.zeros(len(seen.phase), dtype=bool)
    for columns, metric, limit in (
        (ERRORS, "errors", policy.error_gross),
        (SLOW, "slow", policy.slow_gross),
    ):
        canary_bad, canary, stable_bad, stable = seen.recent[:, columns].T
        rows = np.flatnonzero(canary_bad / np.maximum(canary, 1) - stable_bad / np.maximum(stable, 1) > limit)
        alpha = gross_alpha(metric, policy) * GROSS_SHARE
        lower = lower_bound(canary_bad[rows], canary[rows], alpha=alpha)
        found[rows] |= lower - upper_bound(stable_bad[rows], stable[rows], alpha=alpha) > limit
    return found


def _is_suspect(seen: Batch, policy: RolloutPolicy) -> Numbers:
    error = (failure_log_e(seen.error_wealth, seen.very_slow_wealth) >= withdraw_limit("errors", policy)) & (
        seen.total[:, _AT["canary_errors"]] + seen.total[:, _AT["canary_very_slow"]] >= policy.min_bad_requests
    )
    slow = (log_sum(seen.latency_wealth) >= withdraw_limit("slow", policy)) & (
        seen.total[:, _AT["canary_late"]] >= policy.min_bad_requests
    )
    return error | slow


def _is_fast_silent(seen: Batch, policy: RolloutPolicy) -> Numbers:
    return (failure_log_e(seen.error_wealth, seen.very_slow_wealth) < withdraw_limit("errors", policy)) & (
        log_sum(seen.latency_wealth) < withdraw_limit("slow", policy)
    )


def _is_dark_over(seen: Batch, policy: RolloutPolicy) -> Numbers:
    canary, stable = seen.recent[:, _AT["canary"]], seen.recent[:, _AT["stable"]]
    waited_s = seen.now_s - seen.began_s
    cannot_mirror = (canary == 0) & (stable >= policy.mirror_requests_min) & (waited_s >= policy.mirror_s_max)
    is_over = (waited_s >= policy.dark_s_max) & (stable > 0)
    return _is_fast_silent(seen, policy) & ((canary >= policy.dark_requests) | is_over | cannot_mirror)


def _may_go_on(seen: Batch, policy: RolloutPolicy) -> Numbers:
    """Everything that a step or a return needs but the bounds."""
    is_withdrawn = seen.phase == WITHDRAWN
    live = (
        (seen.recent[:, _AT["canary"]] >= policy.min_requests)
        & (seen.total[:, _AT["stable"]] >= policy.min_requests)
        & (log_sum(seen.share_wealth) < -np.log(policy.alpha_share))
    )
    back = (
        (seen.num_returns < policy.returns_max)
        & (seen.now_s - seen.began_s >= policy.burst_s)
        & _is_fast_silent(seen, policy)
    )
    return np.where(is_withdrawn, back, (seen.phase == LIVE) & live)


def _is_harmless(seen: Batch, policy: RolloutPolicy) -> Numbers:
    levels = advance_levels(policy)
    harmless = np.ones(len(seen.phase), dtype=bool)
    margins = (
        (ERRORS, policy.error_margin),
        (SLOW, policy.slow_margin),
        (VERY_SLOW, policy.error_margin),
    )
    for columns, margin in margins:
        canary_bad, canary, *_ = seen.total[:, columns].T
        stable_bad, stable = beside(*(seen.strata[:, :, columns[i]] for i in (1, 2, 3)))
        # As in _is_gross: what these ratios rule out needs no bound.
        rows = np.flatnonzero(
            harmless & (canary_bad / np.maximum(canary, 1) < margin + stable_bad / np.maximum(stable, 1))
        )
        upper = upper_bound(canary_bad[rows], canary[rows], alpha=levels.canary)
        is_under = np.zeros(len(harmless), dtype=bool)
        is_under[rows] = upper - lower_bound(stable_bad[rows], stable[rows], alpha=levels.stable) < margin
        harmless &= is_under
    return harmless


def _follow(
    seen: Batch, condemned: Numbers, suspect: Numbers, goes_on: Numbers, late: Numbers, policy: RolloutPolicy
) -> Batch:
    phase = seen.phase.copy()
    is_last = goes_on & (phase == LIVE) & (seen.step + 1 == len(policy.judged_steps))
    steps_up = goes_on & (phase == LIVE) & ~is_last
    returns = goes_on & (phase == WITHDRAWN)
    to_live = goes_on & ~is_last
    for rows, new in (
        (condemned, ROLLED_BACK),
        (suspect, WITHDRAWN),
        (to_live, LIVE),
        (is_last, PROMOTED),
        (late, INCONCLUSIVE),
    ):
        phase[rows] = new
    for votes, block, since, tolerance in _tracks(policy):
        _close(seen, np.flatnonzero(to_live), votes, block, since, tolerance)
        getattr(seen, block)[suspect] = 0
        getattr(seen, since)[suspect] = seen.now_s[suspect]
    seen.num_returns = seen.num_returns + returns
    seen.error_wealth[returns], seen.latency_wealth[returns] = ERROR_START, LATENCY_START
    seen.very_slow_wealth[returns] = VERY_SLOW_START
    seen.step = seen.step + steps_up
    entered = suspect | to_live
    seen.total[suspect] = 0
    seen.strata[suspect] = 0
    seen.recent[entered] = 0
    seen.unbet[entered] = 0
    seen.bet_at_s = np.where(entered, seen.now_s, seen.bet_at_s)
    seen.began_s = np.where(entered, seen.now_s, seen.began_s)
    seen.share_wealth[entered] = np.array(SHARE_START)
    seen.action = np.where(condemned | entered | is_last | late, phase, -1)
    seen.phase = phase
    return seen
