"""The fork server of a runtime: a process that has imported everything and becomes a model server within 0.1 s.

A fresh process of our own runtime imports torch and more for some 4 s of CPU time. The fork server does that once; a
server that it forks shares the imported memory. It is asked on a socket in a private folder, whose listening end is its
standard input. It outlives a control plane whose model servers do: else one that dies while the next fork server still
imports would be away for 10 s.
"""

import asyncio
import hashlib
import json
import logging
import os
import secrets
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded.control_plane.host.child_env import child_env
from embedded.control_plane.host.processes import stop_group, tethered

log = logging.getLogger(__name__)
OPTION = "--fork_server"
"""What a runtime's command takes, by its annotation."""
_BYTES_MAX = 1 << 16


class ForkFailed(Exception):
    """It ended, or did not answer: the server may run all the same."""


class ForkServer:
    """One runtime's; started when it is first asked, and again when it has ended."""

    def __init__(self, command: Sequence[str], *, cwd: Path, log_path: Path, folder: Path, is_lasting: bool) -> None:
        """folder: of its socket. is_lasting: it outlives us, and the next control plane finds it there."""
        self._command = command
        self._cwd = cwd
        self._log_path = log_path
        self._folder = folder
        self._is_lasting = is_lasting
        self._name = hashlib.sha256("\0".join((*command, str(cwd))).encode()).hexdigest()[:16] + ".sock"
        self._socket: socket.socket | None = None
        self._lock = asyncio.Lock()

    async def fork(self, argv: Sequence[str], *, env: Mapping[str, str], fds: Sequence[int], within_s: float) -> int:
        """The pid of the new server. fds: the file that it holds while it lives, and its log."""
        async with self._lock:
            try:
                return await self._ask(
                    {"argv": list(argv), "env": dict(env), "is_tethered": not self._is_lasting}, fds, within_s
                )
            except (OSError, TimeoutError, ValueError, KeyError) as error:
                self.stop()
                raise ForkFailed(f"the fork server did not answer ({error or type(error).__name__})") from None

    def warm_up(self) -> None:
        """Start it before it is asked: importing takes seconds, and a server that dies is replaced at once."""
        with suppress(OSError):
            self._channel()

    def close(self) -> None:
        """Let go of it; one that does not outlive us ends with us."""
        if self._socket:
            self._socket.close()
        self._socket = None

    def stop(self) -> None:
        """End it; the servers that it forked go on."""
        if self._socket:
            pid = _listener_of(self._socket)
            if pid != os.getpid() and _has_option(pid):
                stop_group(pid, grace_s=0)
        self.close()

    async def _ask(self, message: dict[str, Any], fds: Sequence[int], within_s: float) -> int:
        channel, asked = self._channel(), secrets.token_hex(8)
        socket.send_fds(channel, [json.dumps({**message, "id": asked}).encode()], list(fds))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within_s):
            while True:
                answer = json.loads(await loop.sock_recv(channel, _BYTES_MAX))
                if answer["id"] == asked:  # else of a caller who was cancelled
                    return int(answer["pid"])

    def _channel(self) -> socket.socket:
        """The connection to it; to a new one when nobody listens."""
        if self._socket and not _is_closed(self._socket):
            return self._socket
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        address = f"/proc/self/fd/{folder}/{self._name}"  # a socket's own path may have 107 bytes only
        try:
            channel = _connected(address)
            if channel is None:
                self._start(address)
                channel = _connected(address)
        finally:
            os.close(folder)
        if channel is None:
            raise ConnectionRefusedError("the fork server ended at once")
        self._socket = channel
        return channel

    def _start(self, address: str) -> None:
        """Its socket listens from the beginning: who asks meanwhile waits until it has imported."""
        # The file outlives a listener that was killed, and bind refuses a name that is there.
        (self._folder / self._name).unlink(missing_ok=True)
        self._log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [*self._command, OPTION]
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, self._log_path.open("ab") as output:
            listener.bind(address)
            listener.listen()
            process = subprocess.Popen(
                command if self._is_lasting else tethered(command),
                cwd=self._cwd,
                env=child_env({"PYTHONPATH": str(self._cwd)}),
                stdin=listener.fileno(),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        log.info("fork server %s: started, pid %d", " ".join(self._command), process.pid)


def _connected(address: str) -> socket.socket | None:
    """None when nobody listens."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel.setblocking(False)
    try:
        channel.connect(address)
    except (ConnectionRefusedError, FileNotFoundError):
        channel.close()
        return None
    return channel


def _is_closed(channel: socket.socket) -> bool:
    """Whether the other side has ended. An answer that nobody waits for any more may be there."""
    try:
        return not channel.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _listener_of(channel: socket.socket) -> int:
    """The process that called `listen` last. Source: unix(7), SO_PEERCRED."""
    return int(struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))[0])


def _has_option(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(OPTION.encode())
    return False
