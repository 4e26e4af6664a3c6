"""The runbook's table of threats names tests that exist."""

import re
from pathlib import Path

PROJECT_DIR = Path(__file__).parents[2]


def test_each_threat_names_a_test_that_exists() -> None:
    section = (PROJECT_DIR / "docs" / "runbook.md").read_text().partition("\n## Threats\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 10
    for row in rows:
        names = re.findall(r"`((?:tests/|test_)[^`]*\.py)`", row.rstrip("|").rpartition("|")[2])
        assert names, row
        folder = Path()
        for name in names:
            folder = Path(name).parent if "/" in name else folder
            assert (PROJECT_DIR / folder / Path(name).name).is_file(), f"{name} of the row: {row}"
