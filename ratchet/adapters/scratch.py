"""A private folder in the temporary directory, or in a given one. Once its process was killed, the next removes it."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_OWNER = ".owner"
"""Locked by the living owner; the kernel frees the lock however the process ends."""
_YOUNG_S = 60.0
"""Its owner may not have locked it yet."""
_UNOWNED_S = 86_400.0
"""Without a lock file: from a process that died before it made one."""


class ScratchFolder:
    """Lives as long as this object, or its process."""

    def __init__(self, prefix: str, *, folder: Path | None = None) -> None:
        """folder: where it is made, and where abandoned ones are looked for; None: the temporary directory."""
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(prefix, folder=folder)
        self._folder = tempfile.TemporaryDirectory(prefix=prefix, dir=folder)
        self.path = Path(self._folder.name)
        self._owner = (self.path / _OWNER).open("w")
        fcntl.flock(self._owner, fcntl.LOCK_EX)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
        self._owner.close()


def remove_abandoned(prefix: str, *, folder: Path | None = None) -> int:
    """Remove the folders of our own whose owner is dead; how many. A folder in use is locked, and stays."""
    num = 0
    for path in (folder or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        with suppress(OSError):
            if _is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
                num += 1
    return num


def _is_abandoned(path: Path) -> bool:
    stat = path.lstat()
    age_s = time.time() - stat.st_mtime
    if not path.is_dir() or path.is_symlink() or stat.st_uid != os.getuid() or age_s < _YOUNG_S:
        return False
    try:
        with (path / _OWNER).open("r+") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return age_s > _UNOWNED_S
    except BlockingIOError:
        return False
    return True
