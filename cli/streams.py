"""stdout and stderr that fail in words: a reader that has gone, a full disk, a stream that the caller closed.

Here and not at each `print`, so that it holds for every command, for `--help`, and for the libraries that print.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.exit_codes import OUTPUT_CLOSED
from ratchet.core.errors import RatchetError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Output(io.FileIO):
    """stdout: nobody goes on printing what cannot arrive.

    SystemExit(141) when the reader has gone, as `| head` does; RatchetError when the disk is full, and the like.
    """

    failure: BaseException | None = None
    is_over = False

    def write(self, data: "ReadableBuffer") -> int:
        if self.is_over:
            return len(memoryview(data))
        try:
            return super().write(data)
        except BrokenPipeError:
            self.failure = SystemExit(OUTPUT_CLOSED)
        except OSError as error:
            self.failure = RatchetError(
                f"Standard output cannot be written: {error.strerror}. The output is incomplete; what the command did "
                "besides stays. Free some space or name another file, and print it again."
            )
        raise self.failure


class _Progress(io.FileIO):
    """stderr: progress that nobody can read ends no command."""

    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data))


class Printed:
    """What a command printed."""

    def __init__(self, output: _Output | None) -> None:
        self._output = output

    def finish(self) -> None:
        """Raises what kept stdout from being whole, also when something swallowed it meanwhile."""
        sys.stdout.flush()
        if self._output is not None and self._output.failure is not None:
            raise self._output.failure


@contextmanager
def streams_that_fail_in_words() -> Iterator[Printed]:
    """In the block, what cannot be printed ends the command by an exit code (stdout), or is dropped (stderr)."""
    before = sys.stdout, sys.stderr
    # closefd: the descriptor belongs to the stream that comes back at the end.
    output = _Output(before[0].fileno(), "w", closefd=False) if _is_file(before[0]) else None
    progress = _Progress(before[1].fileno(), "w", closefd=False) if _is_file(before[1]) else None
    sys.stdout, sys.stderr = _over(before[0], output), _over(before[1], progress)
    try:
        yield Printed(output)
    finally:
        if output is not None:
            # What is left in the buffer would fail once more in the flush below.
            output.is_over = True
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _is_file(stream: Any) -> bool:
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() >= 0
    except (OSError, ValueError):  # in memory, as in tests
        return False


def _over(stream: Any, raw: io.FileIO | None) -> Any:
    """A stream like that one which writes through `raw`. One that the caller closed is None: it becomes nothing."""
    if stream is None:
        return Path(os.devnull).open("w")
    if raw is None:
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=stream.line_buffering
    )
