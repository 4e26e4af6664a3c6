"""What a task asks of the machine, and which waiting tasks may start. Pure.

As in Kubernetes a request counts against what the machine has, a limit without a request is also the request, and a
task that asks for nothing counts as nothing (the number of workers still bounds how many run at once).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from embedded.control_plane.engine.executors import Resources
from embedded.control_plane.engine.placeholders import fill_text
from embedded.control_plane.errors import DataRejected

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([numkKMGTPE]?|[KMGTPE]i)")
_SCALE = {
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    "": Decimal(1),
    "k": Decimal(1000),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("KMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}
"""Source: Kubernetes, "Quantity". kfp also writes K for k."""
_GPU = "nvidia.com/gpu"
_OLD_MEMORY_UNIT = 1e9


@dataclass(frozen=True)
class Amount:
    """What a task wants, or a machine has."""

    cpus: float = 0
    memory_bytes: int = 0
    gpus: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.cpus + other.cpus, self.memory_bytes + other.memory_bytes, self.gpus + other.gpus)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.cpus - other.cpus, self.memory_bytes - other.memory_bytes, self.gpus - other.gpus)

    def fits(self, room: "Amount") -> bool:
        """Whether this is not more than `room`; rounding errors of CPUs are forgiven."""
        cpus_fit = self.cpus <= room.cpus + 1e-6 or self.cpus == 0
        return cpus_fit and self.memory_bytes <= max(0, room.memory_bytes) and self.gpus <= max(0, room.gpus)


@dataclass(frozen=True)
class Demand:
    """What one task needs to start, and what it may use at most."""

    request: Amount = Amount()
    memory_bytes_max: int = 0
    """0 = no limit."""


@dataclass(frozen=True)
class Ticket:
    """A task that waits for its turn: the highest priority first, then the oldest run."""

    run_at: datetime
    number: int
    """Rises by one with each task that ever waited."""
    request: Amount
    priority: int = 0

    @property
    def turn(self) -> tuple[int, datetime, int]:
        return (-self.priority, self.run_at, self.number)


def parse_quantity(text: str, *, where: str) -> Decimal:
    """A Kubernetes quantity ("500m", "1.5Gi") as a number. DataRejected names `where` when it is none."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise DataRejected(f"{where}: {text!r} is not a quantity, such as 500m, 2 or 1.5Gi.")
    return Decimal(match[1]) * _SCALE[match[2]]


def demand_of(resources: Resources, parameters: Mapping[str, Any], *, machine: Amount) -> Demand:
    """What a task needs. DataRejected when it is unreadable, or more than the machine has: it could never start.

    parameters: inputs of the task, for amounts that are placeholders.
    """
    cpu_limit = _number(resources.resource_cpu_limit, resources.cpu_limit, parameters, "the CPU limit")
    cpus = _number(resources.resource_cpu_request, resources.cpu_request, parameters, "the CPU request") or cpu_limit
    old_limit, old_request = resources.memory_limit * _OLD_MEMORY_UNIT, resources.memory_request * _OLD_MEMORY_UNIT
    memory_limit = _number(resources.resource_memory_limit, old_limit, parameters, "the memory limit")
    memory = _number(resources.resource_memory_request, old_request, parameters, "the memory request") or memory_limit
    request = Amount(float(cpus), int(memory), _num_gpus(resources, parameters))
    if request.cpus > machine.cpus:
        raise DataRejected(f"it asks for {request.cpus:g} CPUs; this machine has {machine.cpus:g}. Ask for less.")
    if request.memory_bytes > machine.memory_bytes:
        raise DataRejected(
            f"it asks for {gibibytes(request.memory_bytes)} of memory; this machine has "
            f"{gibibytes(machine.memory_bytes)}. Ask for less."
        )
    if request.gpus > machine.gpus:
        raise DataRejected(
            f"it asks for {request.gpus} x {_GPU}; this machine has {machine.gpus}. "
            "Take the accelerator out, or run it on a cluster."
        )
    return Demand(request, int(memory_limit))


def limits_cpu(resources: Resources, parameters: Mapping[str, Any]) -> bool:
    """Whether a limit is asked for; 0 is none."""
    return _number(resources.resource_cpu_limit, resources.cpu_limit, parameters, "the CPU limit") > 0


def gibibytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f} GiB"


def choose_startable(waiting: Iterable[Ticket], *, room: Amount, num_workers: int) -> list[Ticket]:
    """Those of `waiting` (in their turn) that start now.

    The first that does not fit holds back all later ones that ask for anything: small tasks never starve a large one.
    Those that ask for nothing pass by.
    """
    chosen: list[Ticket] = []
    is_held = False
    for ticket in waiting:
        if len(chosen) == num_workers:
            break
        asks = ticket.request != Amount()
        if asks and (is_held or not ticket.request.fits(room)):
            is_held = True
            continue
        room -= ticket.request
        chosen.append(ticket)
    return chosen


def _number(text: str, old: float, parameters: Mapping[str, Any], where: str) -> Decimal:
    filled = _filled(text, parameters)
    return parse_quantity(filled, where=where) if filled else Decimal(old)


def _num_gpus(resources: Resources, parameters: Mapping[str, Any]) -> int:
    accelerator = resources.accelerator
    count = _filled(accelerator.resource_count or accelerator.count, parameters)
    kind = _filled(accelerator.resource_type or accelerator.type, parameters)
    if not kind and not count:
        return 0
    if not count.isdigit() and count:
        raise DataRejected(f"the accelerator count is {count!r}, not a whole number.")
    number = int(count) if count else 1
    if number and kind != _GPU:
        raise DataRejected(f"it asks for the accelerator {kind!r}; this backend knows {_GPU} only. Take it out.")
    return number


def _filled(text: str, parameters: Mapping[str, Any]) -> str:
    context = {"inputs": {"parameterValues": dict(parameters), "artifacts": {}}, "outputs": {}}
    return fill_text(text, executor_input=context, job={})
