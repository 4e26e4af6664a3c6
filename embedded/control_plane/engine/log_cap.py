"""A task that prints for ever does not fill the disk: its log keeps beginning and end, and says what is missing.

Tasks write into their log files themselves (opened to append), so nothing stands in their way. One thread looks at the
files that grow, ten times a second, and cuts the middle out of one that is too long.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wire.loop import Loop

MIB = 1024 * 1024
_TICK_S = 0.1
_growing: dict[Path, int] = {}
"""Logs of tasks that run, and how many bytes were cut out of each."""
_ended: dict[Path, int] = {}
"""Of tasks that have ended since the last look."""
_lock = threading.Lock()


@contextmanager
def growing(log_path: Path) -> Iterator[None]:
    """While a process writes into this log."""
    with _lock:
        _growing[log_path] = 0
    try:
        yield
    finally:
        with _lock:
            _ended[log_path] = _growing.pop(log_path, 0)


def list_growing() -> dict[Path, int]:
    """Logs to look at, with the bytes cut out of each so far; one whose task has ended is given once more."""
    with _lock:
        paths = {**_growing, **_ended}
        _ended.clear()
        return paths


class LogCap:
    """Keeps every log that grows at `max_bytes`, while its loop is started."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.loop = Loop("limit of logs", self._look_at_all, pause_s=_TICK_S, late_s_max=300.0)

    def _look_at_all(self) -> None:
        errors = [error for path, num_cut in list_growing().items() if (error := self._error_at(path, num_cut))]
        if errors:  # once all were looked at: one log that cannot be cut lets no other grow
            raise errors[0]

    def _error_at(self, path: Path, num_cut: int) -> Exception | None:
        try:
            self._look(path, num_cut)
        except Exception as error:
            return error
        return None

    def _look(self, path: Path, num_cut: int) -> None:
        if path.exists() and path.stat().st_size > self._max_bytes:
            num_cut += cut_middle(path, max_bytes=self._max_bytes, num_cut=num_cut)
            with _lock:
                if path in _growing:
                    _growing[path] = num_cut


def cut_middle(path: Path, *, max_bytes: int, num_cut: int = 0) -> int:
    """Leave a quarter of `max_bytes` from the beginning and one from the end; gives how many bytes went now.

    num_cut: what went before, for the notice. A line written at the very moment may be lost: it was about to be.
    """
    part = max_bytes // 4  # half of the room stays free: a log cut to its limit would be cut again in every round
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(part)
        head_end = part + len(file.readline(4096))  # to the end of the line, where it has one
        file.seek(size - part)
        file.readline(4096)
        tail = file.read()
        gone = max(0, size - head_end - len(tail))
        notice = f"\n[control plane] {num_cut + gone} bytes were cut out here: this log may have {max_bytes}.\n"
        file.seek(head_end)
        file.write(notice.encode() + tail)
        # The writer has the file open with O_APPEND, so its next line goes to the new end.
        file.truncate()
    return gone
