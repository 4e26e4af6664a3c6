"""The pages of the guide, as a reader follows them: every file written, every command run, what they print compared."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.settings import child_env
from tests.conftest import PROJECT_DIR
from tests.e2e.guide_page import blocks_of, missing_lines, script_of
from tests.own_ports import with_own_ports

GUIDE = PROJECT_DIR / "docs" / "guide"
PAGES = ("changed-network", "wide-images", "own-pipeline", "mixed-table", "many-labelers")
"""Longest first: two workers follow them, each with a stack of its own. `own-pipeline` asks the model of another."""
_EACH_SHELL = re.compile(r"^(?:cd|export) .*$", re.MULTILINE)
pytestmark = [pytest.mark.e2e, pytest.mark.guide, pytest.mark.timeout(900)]


class Reader:
    """A person with a home folder, in which the clone is `~/ratchet`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "ratchet").symlink_to(PROJECT_DIR)
        with_own_ports(home / "lab" / ".ratchet")
        set_up, down = (block for block in blocks_of(GUIDE / "README.md") if block.language == "sh")
        self._set_up, self._down = set_up.text, down.text
        self._prologue = "\n".join(_EACH_SHELL.findall(set_up.text))

    def begin(self) -> None:
        done = self._bash(f"set -euo pipefail\n{self._set_up}", timeout_s=200)
        assert done.returncode == 0, done.stdout

    def end(self) -> None:
        self._bash(f"{self._prologue}\n{self._down}", timeout_s=120)

    def follow(self, page: str) -> subprocess.CompletedProcess[str]:
        return self._bash(script_of(blocks_of(GUIDE / f"{page}.md"), prologue=self._prologue), timeout_s=600)

    def _bash(self, script: str, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
        env = child_env({"HOME": str(self.home), "COLUMNS": "160"})
        return subprocess.run(
            ["bash", "-c", script],
            env=env,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("home"))
    try:
        reader.begin()
        yield reader
    finally:
        reader.end()


def test_the_overview_lists_each_page():
    text = (GUIDE / "README.md").read_text()
    assert re.findall(r"\(([\w-]+)\.md\)", text) == [
        "mixed-table",
        "many-labelers",
        "wide-images",
        "changed-network",
        "own-pipeline",
    ]
    assert {path.stem for path in GUIDE.glob("*.md")} == {*PAGES, "README"}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(reader, page):
    done = reader.follow(page)
    assert done.returncode == 0, f"{page}.md stopped:\n{done.stdout[-6000:]}"
    missing = list(missing_lines(blocks_of(GUIDE / f"{page}.md"), done.stdout))
    assert not missing, "\n".join(missing)
