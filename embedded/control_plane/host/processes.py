"""Child processes that die with their parent, process groups that stop within a deadline, and free ports."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

_TETHER = Path(__file__).with_name("tether.py")
_POLL_S = 0.03
_KILL_WAIT_S = 5.0
"""SIGKILL cannot be refused; only a process stuck in the kernel (a dead disk) takes longer than this."""


class ProcessStat(NamedTuple):
    """One live process. Source: proc(5), /proc/<pid>/stat, fields 1, 4, 5, 14, 15, 22 and 24.

    psutil has no process group, and its time of the start moves with the machine's clock.
    """

    pid: int
    parent_pid: int
    group: int
    started_at_ticks: int
    """Clock ticks since boot. A pid comes back after a while; a pid with this number is one process for ever."""
    resident_bytes: int
    cpu_s: float = 0.0
    """User and system time of all its threads since its start."""


def tethered(command: Sequence[str]) -> list[str]:
    """The same command, wrapped so that the kernel kills it when this process dies.

    Linux ties it to the *thread* that starts it: spawn from the main thread, or from one that waits for the child.
    """
    return [sys.executable, "-S", "-E", str(_TETHER), str(os.getpid()), "--", *command]


def stop_group(pid: int, *, grace_s: float) -> None:
    """End the process group `pid`: SIGTERM, up to `grace_s` seconds of grace, SIGKILL; then reap the leader.

    The process must lead its own group (`start_new_session=True`). One that is gone already is fine.
    """
    assert pid > 1, f"process group {pid} is not one that we started"
    _signal_group(pid, signal.SIGTERM)
    if not _wait_gone(pid, within_s=grace_s):
        _signal_group(pid, signal.SIGKILL)
        _wait_gone(pid, within_s=_KILL_WAIT_S)


def free_port(preferred: int = 0) -> int:
    """A TCP port of the loopback interface that nobody listens on: `preferred` when it is free, else any."""
    if preferred and is_port_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now; connections still closing do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def process_stat(pid: int) -> ProcessStat | None:
    """What the kernel says of a process; None when there is none, or only a zombie."""
    try:
        # The second field is the program's name in parentheses, which may hold spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return ProcessStat(
        pid=pid,
        parent_pid=int(fields[1]),
        group=int(fields[2]),
        started_at_ticks=int(fields[19]),
        resident_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    )


def list_processes() -> Iterator[ProcessStat]:
    """Every live process of this machine that we may see."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := process_stat(int(entry.name))):
            yield stat


def cpu_s_of_group(group: int) -> float:
    """CPU seconds of the living processes of a group."""
    return sum(stat.cpu_s for stat in list_processes() if stat.group == group)


def family_of(pid: int, processes: Sequence[ProcessStat]) -> list[ProcessStat]:
    """The process `pid` and all below it, out of `processes`."""
    family = [stat for stat in processes if stat.pid == pid]
    # It grows while it is walked, so grandchildren follow.
    for ancestor in family:
        family += (stat for stat in processes if stat.parent_pid == ancestor.pid)
    return family


def is_listener_in_group(group: int, *, port: int) -> bool:
    """Whether a process of this group listens on this loopback port: an answer from it is not a stranger's."""
    members = (stat.pid for stat in list_processes() if stat.group == group)
    return any(("127.0.0.1", port) in _listening_at(pid) for pid in members)


def open_files_of(pid: int) -> set[str]:
    """Paths of the regular files that a process has open; empty for one that has ended, or is not ours to ask."""
    with suppress(psutil.Error):
        return {file.path for file in psutil.Process(pid).open_files()}
    return set()


def _listening_at(pid: int) -> set[tuple[str, int]]:
    with suppress(psutil.Error):
        sockets = psutil.Process(pid).connections("tcp4")
        return {tuple(socket.laddr) for socket in sockets if socket.status == psutil.CONN_LISTEN}
    return set()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _wait_gone(pid: int, *, within_s: float) -> bool:
    """Whether nobody of the group is left in time. Zombies count as gone: their parent may be slow to reap them."""
    deadline = time.monotonic() + within_s
    while True:
        # Not a child of ours, or its Popen has reaped it already.
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if all(stat.group != pid for stat in list_processes()):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
