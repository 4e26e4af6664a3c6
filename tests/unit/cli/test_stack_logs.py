"""`ratchet logs`: what the servers wrote, whole lines only while they still write."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from embedded.layout import Layout
from ratchet.settings import STATE_DIR_VARIABLE


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(STATE_DIR_VARIABLE, str(tmp_path))
    path = Layout(state_dir=tmp_path).log_of("gateway")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def lines_of(*arguments: str) -> list[str]:
    return CliRunner().invoke(app, ["logs", "gateway", *arguments]).stdout.splitlines()


@pytest.mark.parametrize("num_lines", [0, 1, 2, 20])
def test_a_followed_line_is_printed_once_and_whole(
    num_lines: int, log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_file.write_bytes("one\ntwo\nthré".encode()[:-1])

    def writes_on(_seconds: float) -> None:
        if log_file.read_bytes().endswith(b"four\n"):
            raise KeyboardInterrupt
        with log_file.open("ab") as file:
            file.write("é".encode()[1:] + b"e\nfour\n")

    monkeypatch.setattr("cli.stack_logs.time.sleep", writes_on)
    assert lines_of("--follow", "-n", str(num_lines)) == [*["one", "two"][2 - min(num_lines, 2) :], "thrée", "four"]


@pytest.mark.parametrize(("num_lines", "shown"), [(0, []), (1, ["half"]), (2, ["one", "half"]), (9, ["one", "half"])])
def test_a_log_that_is_not_followed_is_shown_to_its_last_byte(num_lines: int, shown: list[str], log_file: Path) -> None:
    log_file.write_bytes(b"one\nhalf")
    assert lines_of("-n", str(num_lines)) == shown
