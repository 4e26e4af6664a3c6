import re

from typer.testing import CliRunner

from cli.exit_codes import EXIT_CODES, NOT_PROMOTED, NOT_REPRODUCED, NOT_SERVING
from cli.main import app
from ratchet.core.errors import RatchetError
from tests.conftest import PROJECT_DIR

GUIDE = PROJECT_DIR / "docs" / "user-guide.md"


def kinds_of(kind: type[RatchetError]) -> set[type[RatchetError]]:
    below = {each for child in kind.__subclasses__() if child.__module__ == kind.__module__ for each in kinds_of(child)}
    return {kind, *below}


def test_every_kind_of_error_has_an_exit_code_of_its_own_and_a_meaning() -> None:
    codes = [kind.exit_code for kind in kinds_of(RatchetError)]
    assert len(codes) == len(set(codes)) and set(codes) <= EXIT_CODES.keys()
    assert EXIT_CODES.keys() - set(codes) == {0, 2, NOT_PROMOTED, NOT_SERVING, NOT_REPRODUCED, 130, 141}, (
        "and no code is without a cause"
    )


def test_the_guide_has_the_table_as_it_is() -> None:
    table = GUIDE.read_text().partition("| exit code | meaning |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", table, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES


def test_help_has_the_table() -> None:
    text = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert all(f"{code}: {meaning.split(',')[0][:20]}" in text for code, meaning in EXIT_CODES.items()), text
