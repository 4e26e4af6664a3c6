"""What the judge remembers of many rollouts at once: `Progress` as arrays, and a look's window as columns."""

from dataclasses import dataclass, field, fields

import numpy as np

from benchmarks.rollout.worlds import BIN_EDGES_MS, Numbers, Seen
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import SHARE_START
from ratchet.core.rollout.wealth import ERROR_START, LATENCY_START, ROW_START, VERY_SLOW_START, VOTE_START

DARK, LIVE, WITHDRAWN, PROMOTED, ROLLED_BACK, INCONCLUSIVE = range(6)
COLUMNS = (
    "canary_errors",
    "canary",
    "stable_errors",
    "stable",
    "canary_slow",
    "canary_timed",
    "stable_slow",
    "stable_timed",
    "canary_late",
    "stable_late",
    "canary_very_slow",
    "stable_very_slow",
)
"""Of one window, and of sums of windows."""
_AT = {name: column for column, name in enumerate(COLUMNS)}
ERRORS = [_AT[name] for name in ("canary_errors", "canary", "stable_errors", "stable")]
SLOW = [_AT[name] for name in ("canary_slow", "canary_timed", "stable_slow", "stable_timed")]
VERY_SLOW = [_AT[name] for name in ("canary_very_slow", "canary_timed", "stable_very_slow", "stable_timed")]
LATE = [_AT[name] for name in ("canary_late", "canary_timed", "stable_late", "stable_timed")]


def _like(start: Numbers, num: int) -> Numbers:
    return np.broadcast_to(start, (num, len(start))).copy()


@dataclass
class Batch:
    """`Progress` of many rollouts: each field an array whose first axis is the rollout."""

    phase: Numbers
    step: Numbers
    began_s: Numbers
    now_s: Numbers
    total: Numbers
    recent: Numbers
    strata: Numbers
    """`total` by phase: (num, 1 + steps, columns); the first is of mirrored requests."""
    unbet: Numbers
    bet_at_s: Numbers
    num_canary: Numbers
    num_returns: Numbers
    errors_in_a_row: Numbers
    error_wealth: Numbers
    latency_wealth: Numbers
    very_slow_wealth: Numbers
    row_wealth: Numbers
    share_wealth: Numbers
    error_votes: Numbers
    slow_votes: Numbers
    very_slow_votes: Numbers
    error_block: Numbers
    slow_block: Numbers
    very_slow_block: Numbers
    error_block_s: Numbers
    slow_block_s: Numbers
    very_slow_block_s: Numbers
    action: Numbers = field(default_factory=lambda: np.zeros(0))
    """What the last look led to: the new phase where it changed, else -1. A new step is LIVE."""

    def take(self, rows: Numbers) -> "Batch":
        return Batch(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


def begin_batch(num: int, policy: RolloutPolicy) -> Batch:
    zeros, counts = np.zeros(num), np.zeros((num, len(COLUMNS)))
    return Batch(
        phase=np.full(num, DARK if policy.dark_requests else LIVE),
        step=np.zeros(num, dtype=int),
        began_s=zeros.copy(),
        now_s=zeros.copy(),
        total=counts.copy(),
        recent=counts.copy(),
        strata=np.zeros((num, 1 + len(policy.judged_steps), len(COLUMNS))),
        unbet=counts.copy(),
        bet_at_s=zeros.copy(),
        num_canary=zeros.copy(),
        num_returns=zeros.copy(),
        errors_in_a_row=zeros.copy(),
        error_wealth=_like(ERROR_START, num),
        latency_wealth=_like(LATENCY_START, num),
        very_slow_wealth=_like(VERY_SLOW_START, num),
        row_wealth=_like(ROW_START, num),
        share_wealth=_like(np.array(SHARE_START), num),
        error_votes=_like(VOTE_START, num),
        slow_votes=_like(VOTE_START, num),
        very_slow_votes=_like(VOTE_START, num),
        error_block=np.zeros((num, 4)),
        slow_block=np.zeros((num, 4)),
        very_slow_block=np.zeros((num, 4)),
        error_block_s=zeros.copy(),
        slow_block_s=zeros.copy(),
        very_slow_block_s=zeros.copy(),
        action=np.full(num, -1),
    )


def window_of(seen: Seen, slow_bin: Numbers, late_bin: Numbers, very_slow_bin: Numbers, is_limited: Numbers) -> Numbers:
    """COLUMNS of a look; a latency counts once the limits (bin numbers) are known."""
    bins = np.arange(len(BIN_EDGES_MS) + 1)
    overs = [bins > each[:, None] for each in (slow_bin, late_bin, very_slow_bin)]
    timed = [np.where(is_limited, of.sum(axis=1), 0) for of in (seen.canary_bins, seen.stable_bins)]
    slow, late, very_slow = (
        [np.where(is_limited, (of * over).sum(axis=1), 0) for of in (seen.canary_bins, seen.stable_bins)]
        for over in overs
    )
    columns = (seen.canary_errors, seen.canary, seen.stable_errors, seen.stable, slow[0], timed[0], slow[1], timed[1])
    return np.stack((*columns, *late, *very_slow), axis=1)
