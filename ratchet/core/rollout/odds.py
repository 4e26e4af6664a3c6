"""Evidence in words: the odds at which a test bets, as people read them. Pure."""

import math

from ratchet.core.rollout.evidence import TestValue

_ODDS_MAX = 1_000_000
_FINE_BELOW = 10
"""Below, the tenths matter: 1.4:1 and 1.6:1 are not the same."""
_MEANING = {
    "errors, fast": ("harm", "to withdraw"),
    "latency, fast": ("harm", "to withdraw"),
    "errors, votes": ("lasting harm", "to roll back"),
    "latency, votes": ("lasting harm", "to roll back"),
    "very slow, votes": ("lasting harm", "to roll back"),
    "errors in a row": ("failing altogether", "to roll back"),
    "traffic share": ("wrong routing", "to hold"),
    "accuracy": ("more wrong answers", "to withdraw"),
    "disagreement": ("too much disagreement", "to object"),
}
"""What a test gathers evidence of, and what it decides. Its own name is part of recorded rollouts and stays."""


def odds_words(log_e: float) -> str:
    """A log wealth (natural) as odds: `3:1`, `33:1`, `<1:1`, `>1,000,000:1`."""
    if log_e < 0:
        return "<1:1"
    if log_e > math.log(_ODDS_MAX):
        return f">{_ODDS_MAX:,}:1"
    odds = math.exp(log_e)
    number = f"{odds:.1f}".removesuffix(".0") if odds < _FINE_BELOW else f"{odds:,.0f}"
    return f"{number}:1"


def evidence_words(test: TestValue) -> str:
    """`evidence of harm 3:1; 33:1 is needed to withdraw`."""
    meaning, decides = _MEANING[test.name]
    return f"evidence of {meaning} {odds_words(test.log_e)}; {odds_words(test.limit)} is needed {decides}"
