"""A verdict as a page for people: self-contained HTML, all text escaped. Pure."""

from collections.abc import Mapping
from html import escape

from ratchet.core.verdict import Reason, Verdict

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #ffffff; --faint: #b8b8b8; --one: #1f6fc4; --two: #c77700;
--bad: #b3261e; --good: #0a7a33; --soft: #f3f3f3 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #16181c; --faint: #5c6068; --one: #6cb0ff;
--two: #ffb454; --bad: #ff7b72; --good: #56d17c; --soft: #22252b } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink);
background: var(--paper) }
h1 { font-size: 1.4rem } .verdict { font-weight: 600 } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--faint); vertical-align: top }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap }
.held { color: var(--good) } .failed { color: var(--bad) }
pre { background: var(--soft); padding: .8rem; overflow: auto }
"""


def render_verdict(verdict: Verdict, *, title: str, sections: Mapping[str, str] | None = None) -> str:
    """One HTML page: the verdict, every check with its number and its limit, what was judged.

    sections: markup that is shown in the place of what was judged under that name; made by us, with text escaped.
    """
    shown = sections or {}
    rows = "\n".join(_render_reason(reason) for reason in verdict.reasons)
    inputs = "\n".join(
        f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>"
        for name, value in verdict.inputs.items()
        if name not in shown
    )
    apart = "\n".join(shown.values())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>Verdict of {escape(verdict.kind)}: <span class="verdict">{escape(verdict.verdict)}</span></p>
<p>{escape(verdict.summary())}</p>
<table><thead><tr><th></th><th>check</th><th>value</th><th>limit</th><th>in words</th></tr></thead>
<tbody>{rows}</tbody></table>
{apart}
<h2>What was judged</h2>
<table><tbody>{inputs}</tbody></table>
</body></html>
"""


def _render_reason(reason: Reason) -> str:
    mark, kind = ("✓", "held") if reason.passed else ("✗", "failed")
    return (
        f'<tr class="{kind}"><td>{mark}</td><td>{escape(reason.check)}</td>'
        f'<td class="number">{_number(reason.value)}</td><td class="number">{_number(reason.limit)}</td>'
        f"<td>{escape(reason.text)}</td></tr>"
    )


def _number(value: float | str | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
