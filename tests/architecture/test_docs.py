"""docs/architecture.md is the map: what it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = sorted(set(re.findall(r"`([a-zA-Z0-9_./-]+\.(?:py|yaml|md|toml))`", PAGE)))
WALK = PAGE.partition("## The walk of one label")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", NAMED)
def test_each_file_that_the_map_names_exists(name):
    """With its path from the root; a bare name is a file beside one that is named, and exists once."""
    found = [ROOT / name] if "/" in name else list((ROOT / "ratchet").rglob(name))
    assert [path.is_file() for path in found] == [True], f"{name}: {found}"


def test_the_walk_names_one_file_a_step():
    listed = WALK.strip().partition("\n\n")[2].rpartition("\n\n")[0]
    steps = re.split(r"(?m)^ ?\d+\. |^   \| (?!step|---)", "\n" + listed)[1:]
    wrong = [step.splitlines()[0] for step in steps if len(re.findall(r"`[a-z_]+/[a-z_/]+\.py`", step)) != 1]
    assert len(steps) == 20 and not wrong
