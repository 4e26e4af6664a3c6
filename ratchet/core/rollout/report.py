"""The verdict of a rollout as one self-contained HTML page: what was decided, why, and the evidence over time. Pure."""

from collections.abc import Callable, Sequence
from html import escape

from ratchet.core.rollout.evidence import Harm, Interval
from ratchet.core.rollout.history import History, JudgedLook
from ratchet.core.rollout.odds import odds_words
from ratchet.core.rollout.picture import render_terminal
from ratchet.core.rollout.progress import Action
from ratchet.core.verdict import Reason, Verdict

__all__ = ["render_report", "render_terminal"]

_WIDTH, _HEIGHT = 860, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 12, 28
_COLOUR = {"canary": "#c2410c", "stable": "#1d4ed8"}
_TEST_COLOURS = ("#c2410c", "#b45309", "#7f1d1d", "#9d174d", "#4b5563", "#15803d", "#6d28d9", "#0e7490", "#a16207")
_RATIO_MIN = 0.1
"""The vertical axis shows at least 0 to 10 %, so that noise at 0.1 % does not look like a mountain."""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2rem auto;padding:0 1rem;color:#1f2937}
h1{font-size:1.4rem;margin-bottom:0} h2{font-size:1.05rem;margin:1.6rem 0 .3rem} .no{color:#b91c1c} .yes{color:#15803d}
table{border-collapse:collapse;width:100%} td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #e5e7eb}
svg{width:100%;height:auto} svg text{font-size:11px;fill:#6b7280} .legend{color:#6b7280;font-size:13px}
"""


def render_report(verdict: Verdict, history: History, *, title: str) -> str:
    """The page. Every text is escaped: reasons may quote what servers said."""
    return "\n".join(
        (
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head>',
            f"<body><h1>{escape(title)}: {escape(verdict.verdict.replace('_', ' '))}</h1>",
            f"<p>{escape(verdict.summary())}</p>",
            _render_reasons(verdict.reasons),
            *_render_charts(history),
            _render_inputs(verdict),
            "</body></html>\n",
        )
    )


def _render_reasons(reasons: Sequence[Reason]) -> str:
    rows = "".join(
        f'<tr><td class="{"yes" if reason.passed else "no"}">{"held" if reason.passed else "did not hold"}</td>'
        f"<td>{escape(reason.check.replace('_', ' '))}</td><td>{escape(reason.text)}</td></tr>"
        for reason in reasons
    )
    return f"<h2>Why</h2><table><tr><th></th><th>check</th><th>value and limit</th></tr>{rows}</table>"


def _render_charts(history: History) -> Sequence[str]:
    if not history.looks:
        return ("<p>The judge took no look: the canary had no traffic in this run.</p>",)
    limits = history.limits
    slow_title = f"Slow requests (over {limits.slow_ms:g} ms)" if limits else "Slow requests (limit not known yet)"
    return (
        _render_evidence(history.looks),
        '<p class="legend">How near each test is to its limit: 0 % is no evidence, 100 % decides. The logarithm of the '
        "evidence over the logarithm of its limit, valid at every look. Grey: the canary&#39;s weight, 0 to 100 %.</p>",
        _render_chart("Errors", history.looks, lambda look: look.evidence.error),
        _render_chart(slow_title, history.looks, lambda look: look.evidence.slow),
        '<p class="legend">Line: share of requests, counted again from zero after a withdrawal. Band: the range that '
        "the counts allow, valid at every look. Orange: canary. Blue: stable.</p>",
        _render_moves(history.looks),
    )


def _render_evidence(looks: Sequence[JudgedLook]) -> str:
    """The tests over time, each as a share of its own limit, so that one picture holds them all."""
    xs = _xs_of(looks)
    lines = [_weight_of(xs, looks), _axes_of(1.0, looks[-1].look.at_s)]
    legend = []
    for index, (test, colour) in enumerate(zip(looks[-1].evidence.tests, _TEST_COLOURS, strict=True)):
        values = [look.evidence.tests[index].log_e / test.limit for look in looks]
        points = " ".join(f"{x:.1f},{_y(max(value, 0), 1.0):.1f}" for x, value in zip(xs, values, strict=True))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        legend.append(
            f'<span style="color:{colour}">{escape(test.name)}: {odds_words(test.log_e)}, '
            f"limit {odds_words(test.limit)}</span>"
        )
    return (
        f'<h2>Evidence</h2><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Evidence over time">'
        f'{"".join(lines)}</svg><p class="legend">{" · ".join(legend)}</p>'
    )


def _render_moves(looks: Sequence[JudgedLook]) -> str:
    """When the traffic moved, and why."""
    quiet = {Action.HOLD, Action.BLIND}
    moves = [look for look in looks if look.decision.action not in quiet] or [looks[-1]]
    rows = "".join(
        f"<tr><td>{look.look.at_s:.1f} s</td><td>{look.phase}, {look.weight_pct} %</td>"
        f"<td>{escape(look.decision.action.replace('_', ' '))}</td><td>{escape(look.decision.text)}</td></tr>"
        for look in moves
    )
    return f"<h2>What was done</h2><table><tr><th>at</th><th>from</th><th>to</th><th>why</th></tr>{rows}</table>"


def _xs_of(looks: Sequence[JudgedLook]) -> list[float]:
    # A rollout may have one look alone, at 0 s.
    end_s = max(looks[-1].look.at_s, 1e-9)
    return [_LEFT + look.look.at_s / end_s * (_WIDTH - _LEFT - _RIGHT) for look in looks]


def _render_chart(title: str, looks: Sequence[JudgedLook], harm_of: Callable[[JudgedLook], Harm]) -> str:
    end_s = max(looks[-1].look.at_s, 1e-9)
    harms = [harm_of(look) for look in looks]
    top = min(1.0, max(_RATIO_MIN, *(1.25 * _ratio(arm) for harm in harms for arm in (harm.canary, harm.stable))))
    xs = _xs_of(looks)
    parts = [_weight_of(xs, looks), _axes_of(top, end_s)]
    for name, arms in (("stable", [h.stable for h in harms]), ("canary", [h.canary for h in harms])):
        parts += [_band_of(xs, arms, top, _COLOUR[name]), _line_of(xs, arms, top, _COLOUR[name])]
    return (
        f"<h2>{escape(title)}</h2>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)} over time">'
        f"{''.join(parts)}</svg>"
    )


def _axes_of(top: float, end_s: float) -> str:
    rows = [(share, _y(share * top, top)) for share in (0.0, 0.5, 1.0)]
    lines = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * top:.1%}</text>'
        for share, y in rows
    )
    ticks = "".join(
        f'<text x="{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f"{share * end_s:.1f} s</text>"
        for share in (0.0, 0.5, 1.0)
    )
    return lines + ticks


def _weight_of(xs: Sequence[float], looks: Sequence[JudgedLook]) -> str:
    points = [f"{_LEFT},{_y(0, 1):.1f}"]
    last_x = float(_LEFT)
    for x, look in zip(xs, looks, strict=True):
        y = _y(look.weight_pct / 100, 1)
        points += [f"{last_x:.1f},{y:.1f}", f"{x:.1f},{y:.1f}"]
        last_x = x
    points.append(f"{last_x:.1f},{_y(0, 1):.1f}")
    return f'<polygon points="{" ".join(points)}" fill="#f3f4f6"/>'


def _band_of(xs: Sequence[float], arms: Sequence[Interval], top: float, colour: str) -> str:
    upper = [f"{x:.1f},{_y(arm.upper, top):.1f}" for x, arm in zip(xs, arms, strict=True)]
    lower = [f"{x:.1f},{_y(arm.lower, top):.1f}" for x, arm in zip(xs, arms, strict=True)]
    return f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" fill-opacity="0.13"/>'


def _line_of(xs: Sequence[float], arms: Sequence[Interval], top: float, colour: str) -> str:
    points = " ".join(f"{x:.1f},{_y(_ratio(arm), top):.1f}" for x, arm in zip(xs, arms, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _render_inputs(verdict: Verdict) -> str:
    plain = {name: value for name, value in verdict.inputs.items() if isinstance(value, str | int | float)}
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in plain.items())
    return f"<h2>What was judged</h2><table>{rows}</table>"


def _ratio(arm: Interval) -> float:
    return arm.num_bad / max(arm.num, 1)


def _y(ratio: float, top: float) -> float:
    return _TOP + (1 - min(ratio / top, 1)) * (_HEIGHT - _TOP - _BOTTOM)
