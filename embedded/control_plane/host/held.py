"""A server that another process looks after: started by that one, or by one before it that was killed."""

import asyncio
import os
import subprocess
from contextlib import suppress


class Held:
    """One living process, by a descriptor that the kernel ties to it: its pid may be given out again, this may not.

    `child` is None for one that another process started: then nobody can tell its exit code.
    """

    def __init__(self, pid: int, child: "subprocess.Popen[bytes] | None" = None) -> None:
        """ProcessLookupError when it has ended. Called in an event loop."""
        self.pid = pid
        self._child = child
        self._has_ended = asyncio.Event()
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            if child is None:
                raise
            self._has_ended.set()
            return
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._note_end)

    @property
    def has_ended(self) -> bool:
        return self._has_ended.is_set()

    async def ended(self) -> None:
        await self._has_ended.wait()

    async def wait(self) -> int | None:
        """Its exit code, once it has ended; None when it was not ours to ask."""
        await self.ended()
        if self._child is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return self._child.wait(1.0)
        return None

    def _note_end(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._has_ended.set()
