"""Logs that do not fill the disk: begun anew at a limit, with one older file kept."""

import os
import shutil
from pathlib import Path

from embedded.layout import make_private_dir

LOG_BYTES_MAX = 16 * 1024 * 1024


def trim_log(path: Path) -> None:
    """Keep one older log of a server that has written a lot; called while nobody writes."""
    make_private_dir(path.parent)
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.rename(path.with_suffix(".log.1"))


def trim_open_log(path: Path, *, bytes_max: int = LOG_BYTES_MAX) -> bool:
    """Begin a log anew that a server has open for appending, and keep the older one; whether it was too large.

    What is written between the copy and the cut is lost: a few lines at most.
    """
    if not path.exists() or path.stat().st_size <= bytes_max:
        return False
    half = path.with_suffix(".log.half")
    with path.open("rb") as source, half.open("wb") as copy:
        source.seek(-min(bytes_max, path.stat().st_size), os.SEEK_END)
        shutil.copyfileobj(source, copy)
    half.rename(path.with_suffix(".log.1"))  # first: killed in between, the log is there twice and not lost
    os.truncate(path, 0)
    return True
