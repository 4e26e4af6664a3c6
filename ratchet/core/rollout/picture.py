"""A rollout as a picture for a terminal: the canary's weight and the evidence over time. Pure, plain text."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from ratchet.core.rollout.history import History, JudgedLook
from ratchet.core.rollout.odds import odds_words
from ratchet.core.rollout.progress import Action

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH_MIN = 40
_LABEL = 18
_ODDS = 13
_LETTER = {
    Action.ADVANCE: "↑",
    Action.WITHDRAW: "↓",
    Action.RETURN: "↺",
    Action.ROLL_BACK: "✗",
    Action.INCONCLUSIVE: "?",
    Action.NO_TRAFFIC: "∅",
    Action.BLIND: "░",
}


def render_terminal(history: History, *, width: int = 80) -> str:
    """A few lines at most `width` wide: weight, test by test how near it is to its limit, and what was decided.

    A bar is full when the test decides. Each column is a span of looks, and shows the most that happened in it.
    """
    if not history.looks:
        return "no look yet\n"
    columns = _columns_of(history.looks, max(width, _WIDTH_MIN) - _LABEL - _ODDS)
    last = history.looks[-1]
    names = [test.name for test in last.evidence.tests]
    rows = [_row("weight", columns, lambda look: look.weight_pct / 100, f"{last.weight_pct} %")]
    for index, name in enumerate(names):
        test = last.evidence.tests[index]
        rows.append(_row(name, columns, _nearness_of(index), odds_words(test.log_e)))
    marks = "".join(_mark_of(column) for column in columns)
    rows.append(f"{'decided':<{_LABEL}}{marks}")
    error, slow = last.evidence.error, last.evidence.slow
    legend = "↑ more traffic  ↓ withdrawn  ↺ returned  ✗ condemned  ? inconclusive  ∅ no traffic  ░ blind"
    return "\n".join(
        (
            *rows,
            f"{'':<{_LABEL}}0 s{f'{last.look.at_s:.1f} s':>{max(len(columns) - 3, 8)}}",
            f"errors: canary {error.canary.num_bad} of {error.canary.num}, stable {error.stable.num_bad} of "
            f"{error.stable.num}; slow: canary {slow.canary.num_bad} of {slow.canary.num}, stable "
            f"{slow.stable.num_bad} of {slow.stable.num}",
            f"{last.decision.action}: {last.decision.text}",
            legend,
            "",
        )
    )


def _columns_of(looks: Sequence[JudgedLook], num: int) -> list[Sequence[JudgedLook]]:
    """Looks in order, in at most `num` groups of about one size, none empty."""
    num = min(num, len(looks))
    edges = [round(i * len(looks) / num) for i in range(num + 1)]
    return [looks[low:high] for low, high in pairwise(edges)]


def _row(name: str, columns: Sequence[Sequence[JudgedLook]], height_of: Callable[[JudgedLook], float], end: str) -> str:
    return f"{name:<{_LABEL}}{''.join(_bar(max(height_of(look) for look in column)) for column in columns)} {end}"


def _nearness_of(index: int) -> Callable[[JudgedLook], float]:
    def nearness(judged: JudgedLook) -> float:
        test = judged.evidence.tests[index]
        return test.log_e / test.limit

    return nearness


def _bar(height: float) -> str:
    """Full only when the limit is reached, empty only when there is nothing."""
    top = len(_BARS) - 1
    if height >= 1 or height <= 0.02:
        return _BARS[top if height >= 1 else 0]
    return _BARS[max(1, min(int(height * top), top - 1))]


def _mark_of(column: Sequence[JudgedLook]) -> str:
    found = [_LETTER[look.decision.action] for look in column if look.decision.action in _LETTER]
    moves = [mark for mark in found if mark != "░"]
    return (moves or found or ["·"])[-1]
