"""What `validate` found in single examples: which, by whom, and why. Pure.

The ids are in here and in the page alone, not in the verdict: verdicts stay, and an id can be erased.
"""

from html import escape

from pydantic import BaseModel, ConfigDict

from ratchet.core.labels.measured import RowFinding
from wire.printable import printable

PAGE_ID_CHARS_MAX = 256
"""Of an id, as a page shows it; `erasure.page_without` looks for it."""


class VersionFindings(BaseModel):
    """Of one dataset version (`s3://ratchet/findings/<task>/v<n>.json`)."""

    model_config = ConfigDict(frozen=True)

    version: str
    found: tuple[RowFinding, ...]


def render_findings(found: tuple[RowFinding, ...]) -> str:
    """A table of the examples of each finding, as markup with all text escaped; "" without any."""
    return "\n".join(_rendered(finding) for finding in found if finding.rows)


def _rendered(finding: RowFinding) -> str:
    rows = "\n".join(
        f"<tr><td>{_shown(row.id)}</td><td>{_shown(row.labeler)}</td><td>{_shown(row.text)}</td>"
        f"<td>{_shown(row.shard)}</td></tr>"
        for row in finding.rows
    )
    more = finding.count.num_bad - len(finding.rows)
    rest = f"<p>And {more} more.</p>" if more > 0 else ""
    return (
        f"<h2>{escape(finding.count.check.capitalize())}</h2>"
        "<table><thead><tr><th>example</th><th>labeler</th><th>what</th><th>label shard</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{rest}"
    )


def _shown(text: str) -> str:
    return escape(printable(text, chars_max=PAGE_ID_CHARS_MAX))
