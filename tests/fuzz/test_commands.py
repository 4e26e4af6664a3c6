"""Broken command lines: every command of the program, with values, files and settings that no one should give.

A command ends with an exit code, or with one error of ours in plain words; never with a traceback. In this process,
with everything down or empty behind it: what a command does with its arguments is tried, not what servers answer.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.os_errors import is_of_the_machine, words_of
from cli.output import print_error
from ratchet import wiring
from ratchet.core.errors import RatchetError
from ratchet.settings import load_settings
from tests.fuzz.hostile import TEXTS
from tests.fuzz.running import fuzz
from tests.unit.cli.commands import COMMANDS, START_SOMETHING
from tests.unit.cli.conftest import world  # noqa: F401 - a fixture of another folder

WORDS = (
    "digits", "nope", "", " ", "-1", "0", "1", "99999999999999999999", "nan", "inf", "1e400", "@daily", "digits/1",
    "latest", "\udcff\udce9", "caf\udce9", "a\0b", "\x1b[31m", "%s", "{}", "..", "/", "~", "x" * 5000, "2026-13-45", "s3://",
    "s3://b/k",
)  # fmt: skip
FILES = {
    "empty": b"", "latin-1": b"caf\xe9: [\n", "nul": b"\0\0\0", "brackets": b"[" * 5000, "lines": b'{"id": 1}\n' * 3,
    "bom": b"\xef\xbb\xbf{}", "surrogate": b'{"id": "\\ud800"}\n', "parquet.parquet": b"PAR1garbagePAR1",
    "yaml.yaml": b"a: &a [*a]\n", "nan": b'{"t": NaN, "features": [1e400]}\n', "csv.csv": b"a,b\n\xff,\n",
}  # fmt: skip


class Line(NamedTuple):
    words: tuple[str, ...]
    columns: str
    stdin: bytes


@pytest.fixture
def places(tmp_path: Path) -> tuple[str, ...]:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return (*(str(tmp_path / name) for name in (*FILES, "folder", "loop", "missing")), "/dev/null/x", "/proc/self/mem")


def line_of(rng: Random, places: tuple[str, ...]) -> Line:
    path = rng.choice([path for path in COMMANDS if path[0] not in START_SOMETHING])
    words = list(path)
    for parameter in COMMANDS[path].params:
        if parameter.name == "help" or (not parameter.required and rng.random() < 0.6):
            continue
        value = rng.choice((*places, *places, *WORDS, rng.choice(TEXTS)))
        choices = getattr(getattr(parameter, "type", None), "choices", None)
        if choices and rng.random() < 0.6:
            value = str(rng.choice(list(choices)))
        elif rng.random() < 0.3:
            value = {"task": "digits", "model": "digits/1", "pipeline": "retrain"}.get(parameter.name, value)
        is_flag = getattr(parameter, "is_flag", False)
        words += [parameter.opts[0]] if is_flag else [value] if parameter.param_type_name == "argument" else [
            parameter.opts[0], value,
        ]  # fmt: skip
    if rng.random() < 0.05:
        words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
    return Line(tuple(words), rng.choice(("1", "0", "80", "x")), rng.choice(tuple(FILES.values())))


def check_ends_in_words(line: Line) -> None:
    """Whatever is refused is refused by an error of ours, of the machine, or by the parser of the command line."""
    os.environ["COLUMNS"] = line.columns
    result = CliRunner().invoke(app, list(line.words), input=line.stdin)
    error = result.exception
    if isinstance(error, RatchetError):
        print_error(str(error))
        assert str(error).strip() and len(str(error)) < 20_000
    elif isinstance(error, OSError) and is_of_the_machine(error):
        assert words_of(error)  # as `cli.main` says it
    elif error is not None and not isinstance(error, SystemExit):
        raise error
    assert "Traceback" not in result.output


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the first wait: what a command follows (a run that nobody finishes here) may last an hour."""

    def interrupt(_duration_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)


@pytest.mark.usefixtures("world", "impatient")
def test_no_command_line_ends_in_a_traceback(places: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    fuzz(lambda rng: line_of(rng, places), check_ends_in_words, num_inputs=250)


@pytest.fixture
def broken_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    profile = tmp_path / "profile.env"
    monkeypatch.setenv("RATCHET_PROFILE", str(profile))
    yield profile
    load_settings.cache_clear()
    wiring.task_spec.cache_clear()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"caf\xe9=1\n", id="latin-1"),
        pytest.param(b"\0\0", id="nul"),
        pytest.param(b"RATCHET_S3_ENDPOINT", id="no-value"),
        pytest.param(b"RATCHET_GUARD_INTERVAL_S=nan\n", id="nan"),
        pytest.param(b"RATCHET_S3_ENDPOINT=http://[::1\n", id="no-url"),
        pytest.param(b"RATCHET_SENSOR_INTERVAL_S=" + b"9" * 5000 + b"\n", id="huge"),
        pytest.param(b"=\n==\n#\n'", id="quotes"),
    ],
)
def test_a_broken_profile_is_an_error_in_words(broken_settings: Path, content: bytes) -> None:
    broken_settings.write_bytes(content)
    for words in (("tasks", "list"), ("runs", "list"), *([("doctor",)] if b"ENDPOINT" in content else [])):
        load_settings.cache_clear()
        check_ends_in_words(Line(words, "80", b""))


def test_a_profile_that_is_a_folder_is_an_error_in_words(broken_settings: Path) -> None:
    broken_settings.mkdir()
    check_ends_in_words(Line(("tasks", "list"), "80", b""))
