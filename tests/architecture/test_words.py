"""What users read is plain technical English: phrases that they should not meet, in any text that reaches them.

Texts that reach users: the pages, every string in the code that is no docstring (messages, reasons, help), and the
docstrings of the command line, which are its help. The rule: subject first, active, present tense, the field's words.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.trees import tree_of

ROOT = Path(__file__).parents[2]
PACKAGES = ("ratchet", "components", "pipelines", "sensors", "embedded", "demo", "wire", "cli")
COMMANDS = ROOT / "cli"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "guide").glob("*.md"))]
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
INSTEAD = {
    r"\bso many\b": "say the number, or `this many`",
    r"\bto be had\b|\bcan be had\b": "available",
    r"\bfor ever\b": "permanently",
    r"\bwhoever\b|\bwhatever is\b": "the caller, the process that; anything that is",
    r"\bsomebody\b|\bnobody\b": "name the role: another process, a person, no labeler",
    r"\blooks what\b|\blooks whether\b": "shows what, checks whether",
    r"\bby (?:itself|themselves)\b": "automatically",
    r"\bas told\b": "as expected",
    r"\bword is wanted\b|\bwants a\b|\bperson's word\b": "requires approval",
    r"\bspeaks at\b|\be\^": "evidence N:1; M:1 is needed",
    r"\bthere are none\b": "none exist",
    r"\bhow it stands\b|\bgets? on\b|\bstands open\b": "the state; continues; is open",
    r"\bperhaps\b": "may, optional",
    r"\bNo run: ": "say what prevents the run",
    r"\banew\b": "again",
    r"\bthat there (?:is|are)\b|\bwhich there are\b": "existing",
    r"\bfrom then on\b": "afterwards",
    r"\bmiddling\b|\bnought\b|\bheld good\b": "plain words",
    r"\bsays more\b|\bsay more\b": "shows details",
    r"\bthe most: ": "the largest",
    r"\bat the least\b": "at least",
    r"\b(?:is|are|was) asked$|\bthe policy asks for\b": "needed: number and limit",
    r"\bby the clock\b": "by a schedule",
    r"\bin other hands\b|\bgood name\b|\bof the like\b|\ball the same\b": "plain words",
    r"\bwas first\b": "came first",
    r"\bno retry mends\b": "a retry fails again",
    r"\bmore of it\b|\bof then\b|\bof now\b": "plain words",
}
_ANY = re.compile("|".join(f"(?:{pattern})" for pattern in INSTEAD), re.IGNORECASE)


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of the strings of a module that users can meet."""
    tree = tree_of(path)
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    helps = _help_texts(tree) if path.is_relative_to(COMMANDS) else set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (id(node) not in docstrings or id(node) in helps)
        ):
            yield node.lineno, node.value


def _help_texts(tree: ast.Module) -> set[int]:
    """Docstrings of public functions: typer prints those of commands."""
    bodies = (
        node.body[0] for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    )
    return {id(first.value) for first in bodies if isinstance(first, ast.Expr)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_plain_english(path):
    met = [
        f"line {number}: {found[0]!r}"
        for number, line in enumerate(path.read_text().split("\n"), 1)
        for found in _ANY.finditer(line)
    ]
    assert not met, met


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_message_is_plain_english(path):
    met = [
        f"line {line}: {found[0]!r} in {text[:120]!r}" for line, text in texts_of(path) for found in _ANY.finditer(text)
    ]
    assert not met, met
