"""The loopback ports of the stack: those of the last start, else the usual ones, else free ones."""

import secrets
from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict


class StackPorts(BaseModel):
    """Each port with its usual number. SeaweedFS listens on ten; clients use `s3` only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    s3: int = 18333
    s3_grpc: int = 28333
    weed_master: int = 19333
    weed_master_grpc: int = 29333
    weed_volume: int = 18080
    weed_volume_grpc: int = 28080
    weed_filer: int = 18888
    weed_filer_grpc: int = 28888
    weed_admin: int = 18646
    weed_admin_grpc: int = 28646
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
    for name, field in StackPorts.model_fields.items():
        wished = (remembered.get(name, field.default), field.default)
        offers = (port for source in (wished, candidates) for port in source)
        chosen[name] = next(port for port in offers if port not in chosen.values() and is_free(port))
    return StackPorts.model_validate(chosen)


def random_ports(*, limit: int = 1000) -> Iterator[int]:
    """Candidates below the range from which Linux takes the ports of outgoing connections (32768 and up)."""
    for _ in range(limit):
        yield 20_000 + secrets.randbelow(12_768)
