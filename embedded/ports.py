"""The loopback ports of the stack: those of the last start, else the usual ones, else free ones."""

import secrets
from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict

_CANDIDATES_FROM = 20_000
_OUTGOING_FROM = 32_768
"""From here on Linux takes the ports of outgoing connections."""


class StackPorts(BaseModel):
    """Each port with its usual number. SeaweedFS listens on ten; clients use `s3` only, so the other nine have none (0)
    and lie anywhere: a stranger cannot take them, or their sockets in /tmp, ahead of us."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    s3: int = 18333
    s3_grpc: int = 0
    weed_master: int = 0
    weed_master_grpc: int = 0
    weed_volume: int = 0
    weed_volume_grpc: int = 0
    weed_filer: int = 0
    weed_filer_grpc: int = 0
    weed_admin: int = 0
    weed_admin_grpc: int = 0
    mlflow: int = 15000
    control_plane: int = 18800
    gateway: int = 17000
    sensor: int = 18900
    guard: int = 18950

    def of_seaweed(self) -> tuple[int, ...]:
        return tuple(port for name, port in self if name.startswith(("s3", "weed_")))


def plan_ports(
    *, remembered: Mapping[str, int], is_free: Callable[[int], bool], candidates: Iterator[int]
) -> StackPorts:
    """For each server the port it had, else its usual one, else the next free candidate; no two the same."""
    chosen: dict[str, int] = {}

    def is_left(port: int) -> bool:
        return port not in chosen.values() and is_free(port)

    for name, field in StackPorts.model_fields.items():
        wished = (port for port in (remembered.get(name), field.default) if port)
        offers = (port for source in (wished, candidates) for port in source)
        if name == "weed_admin":
            chosen[name] = next(port for port in offers if _has_room(port) and all(map(is_left, _pair(port))))
            chosen["weed_admin_grpc"] = _pair(chosen[name])[1]
        elif name not in chosen:
            chosen[name] = next(port for port in offers if is_left(port))
    return StackPorts.model_validate(chosen)


def _pair(admin: int) -> tuple[int, int]:
    """The worker of `weed mini`, which gives room back to the disk, finds its admin at this distance only."""
    return admin, admin + 10_000


def _has_room(admin: int) -> bool:
    return _pair(admin)[1] < _OUTGOING_FROM


def random_ports(*, limit: int = 1000) -> Iterator[int]:
    """Candidates below the range of outgoing connections."""
    for _ in range(limit):
        yield _CANDIDATES_FROM + secrets.randbelow(_OUTGOING_FROM - _CANDIDATES_FROM)
