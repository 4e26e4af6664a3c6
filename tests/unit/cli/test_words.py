import re
from datetime import datetime, timedelta, timezone

import pytest

from cli.words import age_words, bar, moment_words
from tests.conftest import PROJECT_DIR

ROOT = PROJECT_DIR


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0 s"), (0, "0 s"), (0.9, "0 s"), (1, "1 s"), (59.999, "59 s"), (60, "1 min"), (3_599, "59 min"),
        (3_600, "1 h"), (5_400, "1 h"), (7_199, "1 h"), (7_200, "2 h"), (86_399, "23 h"), (86_400, "1 d"),
        (200_000, "2 d"), (3.2e9, "37037 d"),
    ],
)  # fmt: skip
def test_a_span_has_one_form_at_each_boundary(seconds: float, expected: str) -> None:
    assert age_words(seconds) == expected


def test_a_moment_is_told_in_utc_to_the_second() -> None:
    at = datetime(2026, 1, 31, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert moment_words(at) == "2026-01-31 12:00:00 UTC"


def test_no_command_forms_spans_by_itself() -> None:
    """A table of units, or a division by one, in a text is a second format in the making."""
    units = re.compile(r"""["'](min|h|d)["']\)|(//?\s*(60|3_?600|86_?400)\b.*["'].*\b(min|h|d)\b)""")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("cli", "ratchet", "sensors", "components")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "words.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if units.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        pytest.param(0.0, "░░░░", id="nothing"),
        pytest.param(0.001, "█░░░", id="a little is not nothing"),
        pytest.param(0.5, "██░░", id="half"),
        pytest.param(0.999, "███░", id="not quite all"),
        pytest.param(1.0, "████", id="all"),
        pytest.param(7.0, "████", id="more than that"),
    ],
)
def test_a_bar(share, drawn):
    assert bar(share, width=4) == drawn
