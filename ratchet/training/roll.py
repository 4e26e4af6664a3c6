"""Who trains together: each worker signs in, so that one whose peers are silent can name the lost one.

gloo says "timed out" or "connection closed", and of whom it says neither rank nor process.
"""

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

_NOTICED_S = 2.0
"""Workers that wait for one that is lost give up at nearly the same time: who says nothing by then is the lost one."""
_STOPPED, _GONE = "Tt", "ZX"
"""Of the states in /proc/<pid>/stat."""


class Roll:
    """Of one worker. A folder beside the job, of which each generation of workers writes the files over."""

    def __init__(self, folder: Path, *, rank: int, world_size: int) -> None:
        self._folder, self._rank, self._world_size = folder, rank, world_size

    def sign_in(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._noticed(self._rank).unlink(missing_ok=True)
        (self._folder / str(self._rank)).write_text(f"{os.getpid()} {platform.node()}")

    def lost_words(self) -> str:
        """Called when a peer is lost: which one, and what became of its process. Takes 2 s."""
        self._noticed(self._rank).touch()
        time.sleep(_NOTICED_S)
        found = "; ".join(self._lost()) or "another worker, which was started again since"
        return f"worker {self._rank} of {self._world_size} lost {found}"

    def _lost(self) -> Iterator[str]:
        for rank in range(self._world_size):
            if rank == self._rank:
                continue
            try:
                pid_text, host = (self._folder / str(rank)).read_text().split(maxsplit=1)
                pid = int(pid_text)
            except (OSError, ValueError):
                continue
            if host != platform.node():
                if not self._noticed(rank).exists():
                    yield f"worker {rank} on {host}: it does not answer"
                continue
            state = state_of(pid)
            if not state or state in _GONE:
                yield f"worker {rank}: its process {pid} is gone"
            elif state in _STOPPED:
                yield f"worker {rank}: its process {pid} is stopped"
            elif not self._noticed(rank).exists():
                yield f"worker {rank}: its process {pid} runs and does not answer"

    def _noticed(self, rank: int) -> Path:
        return self._folder / f"{rank}.noticed"


def state_of(pid: int) -> str:
    """A letter, as `ps` shows it; "" when there is no such process."""
    try:
        # The name of the program, in parentheses, may have any character.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
