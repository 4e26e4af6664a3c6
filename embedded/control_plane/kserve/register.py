"""Which model servers run: one small file each, locked by the server itself for as long as it lives.

The file is written and locked before the process is made, and the process inherits the lock with an open descriptor. So
at no moment does a server run that its successor's control plane cannot find, whatever is killed when; and the kernel,
not a pid, tells whether it lives.
"""

import fcntl
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from embedded.control_plane.host.processes import ProcessStat, list_processes, open_files_of

_EXIT = re.compile(rb"\nexit (\d+)$")


class ServerRecord(BaseModel):
    """Which replica of which revision a process is, and where it is found."""

    model_config = ConfigDict(frozen=True)

    service_uid: str
    revision: str
    replica: int
    port: int
    model_dir: str = ""
    log_start: int = 0
    """Where in the revision's log its own lines begin."""


class Entered(NamedTuple):
    """A server that is about to start; it inherits `fd`, which is to be closed here afterwards."""

    record: ServerRecord
    path: Path
    fd: int


class LivingServer(NamedTuple):
    record: ServerRecord
    path: Path
    pid: int


class ServerRegister:
    """The files of one control plane's model servers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def enter(self, record: ServerRecord) -> Entered:
        """Write and lock the file of a server that is about to start."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{record.revision}.{secrets.token_hex(8)}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, record.model_dump_json().encode())
        return Entered(record, path, fd)

    def list_living(self) -> list[LivingServer]:
        """Of every control plane of this folder. Files of those that have ended are removed."""
        if not self._folder.is_dir():
            return []
        locked = {path.resolve(): path for path in self._folder.iterdir() if not self._remove_if_free(path)}
        holders = _leaders_holding(set(map(str, locked)))
        found = []
        for real, path in locked.items():
            with suppress(ValidationError, OSError):
                record = ServerRecord.model_validate_json(path.read_bytes())
                if stat := holders.get(str(real)):
                    found.append(LivingServer(record, path, stat.pid))
        return found

    def find(self, path: Path) -> LivingServer | None:
        return next((server for server in self.list_living() if server.path == path), None)

    def take_exit_code(self, path: Path) -> int | None:
        """What a server that has ended left as its last word, where it does so; its file is removed."""
        with suppress(OSError):
            said = _EXIT.search(path.read_bytes())
            path.unlink()
            return int(said[1]) if said else None
        return None

    def _remove_if_free(self, path: Path) -> bool:
        with suppress(OSError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            path.unlink()
        return True


def _leaders_holding(paths: set[str]) -> dict[str, ProcessStat]:
    """Which server has which of these files open; not we, who may be making one, nor a fork server on its way to it."""
    leaders = (stat for stat in list_processes() if stat.pid == stat.group and stat.pid != os.getpid())
    return {
        name: stat
        for stat in leaders
        if not _is_fork_server(stat.pid)
        for name in open_files_of(stat.pid)
        if name in paths
    }


def _is_fork_server(pid: int) -> bool:
    """Its requests come in on its standard input; a server has none."""
    with suppress(OSError):
        return str(Path(f"/proc/{pid}/fd/0").readlink()).startswith("socket:")
    return False
