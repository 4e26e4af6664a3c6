"""What this machine has to give to tasks."""

import os
import re
from pathlib import Path

from embedded.control_plane.engine.resources import Amount

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_DEVICES = Path("/dev")


def measure_machine() -> Amount:
    """Cores that we may use, memory of the machine or of the container that we are in, and NVIDIA devices."""
    gpus = [path for path in _DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return Amount(cpus=len(os.sched_getaffinity(0)), memory_bytes=_memory_bytes(), gpus=len(gpus))


def used_memory_bytes(pids: list[int], *, precise: bool) -> int:
    """Memory that these processes hold. Precise: a page that several share counts once, at some cost."""
    return sum(_proportional_bytes(pid) if precise else _resident_bytes(pid) for pid in pids)


def _memory_bytes() -> int:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _proportional_bytes(pid: int) -> int:
    """Source: proc(5), smaps_rollup: Pss is in kB."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", rows, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
