"""Output that cannot be printed, folders that cannot be used: an exit code and one line at most, in every command."""

import ctypes
import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cli import main as program
from cli.exit_codes import OUTPUT_CLOSED
from cli.os_errors import is_of_the_machine, words_of
from cli.streams import streams_that_fail_in_words
from tests.unit.cli.commands import COMMANDS
from tests.unit.cli.commands import words_of as line_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("world")]

CONFIGS = Path(__file__).parents[3] / "configs"
FULL = Path("/dev/full")
READERS = ("list", "show", "history", "status", "count")


def gone() -> io.TextIOWrapper:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def full() -> io.TextIOWrapper:
    stream = FULL.open("w")
    assert isinstance(stream, io.TextIOWrapper)
    return stream


def run(words: list[str], stream: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch) -> int:
    """The program itself in this process, with that standard output; its exit code."""
    monkeypatch.setattr(sys, "argv", ["ratchet", *words])
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert sys.stdout is stream, "the caller's stream is back"
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(("make", "code"), [(gone, OUTPUT_CLOSED), (full, 1)], ids=["gone", "full"])
def test_output_that_cannot_be_written_ends_every_command_by_its_exit_code(
    path: tuple[str, ...],
    make: Callable[[], io.TextIOWrapper],
    code: int,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*path, "--help"], make(), monkeypatch) == code
    text = capsys.readouterr().err
    assert ("No space left on device" in text and text.count("\n") == 1) if code == 1 else text == ""
    if path[-1] in READERS:
        run([*line_of(path, file), "--json"], make(), monkeypatch)
        assert "Traceback" not in capsys.readouterr().err


def test_a_swallowed_failure_to_print_is_no_success() -> None:
    stream = gone()
    before, sys.stdout = sys.stdout, stream
    try:
        with streams_that_fail_in_words() as printed:
            with suppress(SystemExit):  # as a library may
                print("data", flush=True)
            with pytest.raises(SystemExit, match=str(OUTPUT_CLOSED)):
                printed.finish()
    finally:
        sys.stdout = before


def test_progress_that_cannot_be_written_ends_nothing() -> None:
    before, sys.stderr = sys.stderr, full()
    try:
        with streams_that_fail_in_words() as printed:
            print("x" * 100_000, file=sys.stderr, flush=True)
            printed.finish()
    finally:
        sys.stderr = before


def without_the_rights_of_root() -> None:
    """Root may write everywhere; without these two capabilities it is held to the modes of files, as any user."""
    library = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        library.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def ratchet(*words: str, state_dir: Path, cwd: Path, shell: str = "") -> "subprocess.CompletedProcess[str]":
    env = {"PATH": os.environ["PATH"], "RATCHET_CONFIGS_DIR": str(CONFIGS), "RATCHET_STATE_DIR": str(state_dir)}
    line = [sys.executable, "-P", "-m", "cli", *words]
    if shell:
        line = ["sh", "-c", f'"$@" {shell}', "sh", *line]
    return subprocess.run(
        line, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=without_the_rights_of_root,
    )  # fmt: skip


def test_streams_that_the_caller_closed_end_no_command(tmp_path: Path) -> None:
    done = ratchet("tasks", "list", state_dir=tmp_path, cwd=tmp_path, shell=">&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("command", "state"),
    [("up", "file"), ("up", "read-only/state"), ("demo", "file/state"), ("status", "file"), ("down", "file")],
)
def test_a_state_folder_that_cannot_be_is_one_line_with_its_path(tmp_path: Path, command: str, state: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "read-only").mkdir(mode=0o555)
    done = ratchet(command, state_dir=tmp_path / state, cwd=tmp_path / "read-only")
    assert "Traceback" not in done.stderr and done.stdout == "", done.stderr
    if done.returncode:
        assert done.stderr.count("\n") == 1, done.stderr
        assert str(tmp_path / state) in done.stderr or "ratchet up" in done.stderr
    assert (tmp_path / "file").read_text() == "not a folder"
    assert command in {"down", "status"} or done.returncode, "it cannot have started"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOTDIR, errno.ENOSPC, errno.EROFS, errno.ENOENT])
def test_what_the_machine_refuses_is_named_with_the_next_step(number: int) -> None:
    error = OSError(number, os.strerror(number), "/a/b")
    assert is_of_the_machine(error) and words_of(error).startswith(f"/a/b: {os.strerror(number)}. ")


def test_an_error_of_the_program_stays_one() -> None:
    assert not is_of_the_machine(OSError(errno.EBADF, "Bad file descriptor"))
