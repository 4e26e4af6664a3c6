"""What this machine has to give to tasks."""

import os
import re
from contextlib import suppress
from pathlib import Path

import psutil

from embedded.control_plane.engine.resources import Amount

# Of cgroup v2. Elsewhere the file is missing, and the machine's whole memory counts.
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_DEVICES = Path("/dev")


def measure_machine() -> Amount:
    """Cores that we may use, memory of the machine or of the container that we are in, and NVIDIA devices."""
    gpus = [path for path in _DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return Amount(cpus=len(os.sched_getaffinity(0)), memory_bytes=_memory_bytes(), gpus=len(gpus))


def used_memory_bytes(pids: list[int], *, precise: bool) -> int:
    """Memory that these processes hold. Precise: a page that several share counts once, at some cost."""
    return sum(_held_bytes(pid, precise=precise) for pid in pids)


def _memory_bytes() -> int:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _held_bytes(pid: int, *, precise: bool) -> int:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return int(process.memory_full_info().pss if precise else process.memory_info().rss)
    return 0
