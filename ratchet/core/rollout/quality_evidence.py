"""Evidence about what the canary answers: agreement with stable, scores, and accuracy once labels arrive. Pure."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from ratchet.core.rollout.betting import Bets, Counts, bet_on, log_gain, log_gain_over, start_wealth
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.sequential import beside, lower_bound, upper_bound
from ratchet.core.rollout.wealth import BET_SHARES, DIGITS, Guess, as_batch, as_tuple, guess_of, wealth_of
from ratchet.core.rollout.window import NUM_SCORE_BINS, QualityWindow

_START = tuple(start_wealth(BET_SHARES).tolist())
_WRONG_GUESS = Guess(ratio=0.1, num=20.0, ratio_min=0.005)


class QualityEvidence(BaseModel):
    """What is known of the canary's answers since the rollout began."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    total: QualityWindow = QualityWindow()
    earlier: tuple[QualityWindow, ...] = ()
    """What `total` held when each earlier phase or step ended."""
    disagreement_wealth: tuple[float, ...] = _START
    """Log wealth of bets that the revisions disagree on more than `disagreement_max`."""
    accuracy_wealth: tuple[float, ...] = _START
    """Log wealth of bets that the canary is wrong more often than stable, beyond the tolerance."""

    def after(self, window: QualityWindow, policy: RolloutPolicy) -> "QualityEvidence":
        """With what became known since the last look."""
        return QualityEvidence(
            total=self.total + window,
            earlier=self.earlier,
            disagreement_wealth=as_tuple(self._disagreement_after(window, policy)),
            accuracy_wealth=as_tuple(self._accuracy_after(window, policy)),
        )

    def with_phase_closed(self) -> "QualityEvidence":
        """What becomes known from now on is of another phase, which splits the traffic differently."""
        if self.total == (self.earlier[-1] if self.earlier else QualityWindow()):
            return self
        return self.model_copy(update={"earlier": (*self.earlier, self.total)})

    @property
    def strata(self) -> Counts:
        """Wrong and known answers by the phase in which they became known; each array is (S,)."""
        ends = [_known_of(each) for each in (QualityWindow(), *self.earlier, self.total)]
        return Counts(*np.diff(np.array(ends), axis=0).T)

    def with_fresh_accuracy(self) -> "QualityEvidence":
        """For the next stay in live traffic."""
        return self.model_copy(update={"accuracy_wealth": _START})

    def _disagreement_after(self, window: QualityWindow, policy: RolloutPolicy) -> np.ndarray:
        num = as_batch(window.num_compared)
        limit = policy.disagreement_max
        ratios = limit + (1 - limit) * np.array([0.15, 0.4, 0.8])
        gains = log_gain_over(num - as_batch(window.num_agreed), num, ratio_max=limit, ratios=ratios)
        return bet_on(wealth_of(self.disagreement_wealth), gains, num, start=np.array(_START))

    def _accuracy_after(self, window: QualityWindow, policy: RolloutPolicy) -> np.ndarray:
        """On the same requests the arms go up and down together, which only makes the bets more careful."""
        counts = wrong_of(window)
        total = wrong_of(self.total)
        ratio = guess_of(_WRONG_GUESS, num_bad=total.stable_bad, num=total.stable)
        bets = Bets(harms=tuple(min(policy.accuracy_margin * x, 0.9) for x in (1, 2.5, 8)), shares=BET_SHARES)
        gains = log_gain(counts, stable_ratio=ratio, harms=bets.harms, tolerance=policy.accuracy_tolerance)
        return bet_on(wealth_of(self.accuracy_wealth), gains, counts.canary, start=np.array(_START))


def wrong_of(window: QualityWindow) -> Counts:
    return Counts(*(as_batch(value) for value in _known_of(window)))


def accuracy_harm_lower(strata: Counts, *, alpha: float) -> float:
    """How many more answers of the canary are wrong than of stable, at least; bounds as in sequential.py.

    strata: arrays (S,); stable is weighted as the canary is.
    """
    stable_bad, stable = beside(strata.canary, strata.stable_bad, strata.stable)
    lower = lower_bound(strata.canary_bad.sum(), strata.canary.sum(), alpha=alpha / 2)
    return round(float(lower - upper_bound(stable_bad, stable, alpha=alpha / 2)), DIGITS)


def _known_of(window: QualityWindow) -> tuple[int, int, int, int]:
    """Wrong and known answers of the canary, then of stable."""
    return (
        window.canary_known - window.canary_right,
        window.canary_known,
        window.stable_known - window.stable_right,
        window.stable_known,
    )


def score_shift_lower(total: QualityWindow, *, alpha: float) -> float:
    """The greatest difference between the cumulative distributions of the scores, at least (0..1).

    Kolmogorov's distance over the 9 inner bin edges; each edge has bounds of its own in either direction (union bound).
    """
    if len(total.stable_scores) != NUM_SCORE_BINS or len(total.canary_scores) != NUM_SCORE_BINS:
        return 0.0
    under = np.cumsum([total.canary_scores, total.stable_scores], axis=1)
    inner, num = under[:, :-1].astype(float), under[:, -1:].astype(float)
    share = alpha / (4 * (NUM_SCORE_BINS - 1))
    lower, upper = lower_bound(inner, num, alpha=share), upper_bound(inner, num, alpha=share)
    return round(float(max(0.0, np.max(lower[0] - upper[1]), np.max(lower[1] - upper[0]))), DIGITS)
