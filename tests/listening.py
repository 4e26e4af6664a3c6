"""Which addresses processes listen on, from /proc."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path


def listening_addresses(pids: Iterable[int]) -> set[str]:
    """IPv4 and IPv6, without ports."""
    sockets = {name for pid in pids for name in open_files(pid)}
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            row = line.split()
            if row[3] == "0A" and f"socket:[{row[9]}]" in sockets:
                found.add(str(_address_of(row[1].partition(":")[0])))
    return found


def seen_from_elsewhere(pids: Iterable[int]) -> set[str]:
    """Those of the addresses that are not on loopback."""
    return {address for address in listening_addresses(pids) if not ip_address(address).is_loopback}


def open_files(pid: int) -> list[str]:
    try:
        return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # it, or what it had open, has just gone
        return []


def _address_of(text: str) -> IPv4Address | IPv6Address:
    """/proc writes an address as words of four bytes, each in the order of the machine, which is little-endian."""
    words = b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8))
    return IPv4Address(words) if len(words) == 4 else IPv6Address(words)
