"""What the engine does when the disk is full: it stops taking work, says so, and goes on when there is room again."""

import errno
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

_ROOM_BYTES_MIN = 32 * 1024 * 1024
"""Free bytes at which work goes on: with less, the next task would fill the disk at once."""
_POLL_S = 1.0


def is_out_of_room(error: BaseException) -> bool:
    """SQLite says "database or disk is full", or "disk I/O error" where its log cannot grow."""
    if isinstance(error, sqlite3.OperationalError):
        return "disk" in str(error)
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


class Room:
    """Whether the engine's data folder takes what it writes. `problem` may be read from any thread."""

    def __init__(self, data_dir: Path, check_writable: Callable[[], None], *, poll_s: float = _POLL_S) -> None:
        self.problem = ""
        self._data_dir, self._check_writable, self._poll_s = data_dir, check_writable, poll_s

    def wait(self, error: Exception, *, is_stopping: Callable[[], bool]) -> None:
        """Until what failed works again, or the engine stops."""
        what = "the disk is full" if is_out_of_room(error) else "its database cannot be written"
        self.problem = f"{what} ({error}): no task runs until {self._data_dir} has space. Free some."
        log.error("the pipeline engine pauses: %s", self.problem)
        while not is_stopping():
            time.sleep(self._poll_s)
            if self._has_room():
                self.problem = ""
                log.info("the pipeline engine continues")
                return

    def _has_room(self) -> bool:
        try:
            self._check_writable()
            return shutil.disk_usage(self._data_dir).free >= _ROOM_BYTES_MIN
        except (sqlite3.Error, OSError):
            return False
