"""What the nodes of a TrainJob ask of this machine, together. Pure.

A job that could never have it is refused when it is made, as the engine refuses such a step: it would wait without an
end. The nodes of a job that fits do not wait in the engine's queue, which holds steps of pipelines alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from embedded.control_plane.engine.resources import Amount, gibibytes, parse_quantity
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.trainer.plan import NodePlan

_FIELD = "spec.trainer.resourcesPerNode"
_GPU = "nvidia.com/gpu"
_NOT_COUNTED = frozenset({"ephemeral-storage"})
"""Of every machine; nothing here keeps account of it."""


def demand_errors(plan: NodePlan, machine: Amount) -> Iterator[FieldError]:
    """One for each resource of which this machine has less than the nodes ask for, or none at all."""
    asked = {**_given(plan.resources, "limits"), **_given(plan.resources, "requests")}
    for name, value in asked.items():
        try:
            amount = float(parse_quantity(str(value), where=name)) * plan.num_nodes
        except DataRejected as error:
            yield FieldError(_FIELD, str(error))
            continue
        if (text := _lacking(name, amount, machine)) and name not in _NOT_COUNTED:
            nodes = f"{plan.num_nodes} nodes ask" if plan.num_nodes > 1 else "the node asks"
            yield FieldError(_FIELD, f"{nodes} for {text}", reason="FieldValueNotSupported")


def _given(resources: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = resources.get(key)
    return found if isinstance(found, Mapping) else {}


def _lacking(name: str, amount: float, machine: Amount) -> str:
    """ "" when this machine has as much."""
    if name == "cpu":
        fits, words = amount <= machine.cpus, f"{amount:g} CPUs; this machine has {machine.cpus:g}"
    elif name == "memory":
        fits = amount <= machine.memory_bytes
        words = f"{gibibytes(int(amount))} of memory; this machine has {gibibytes(machine.memory_bytes)}"
    else:
        there = machine.gpus if name == _GPU else 0
        fits, words = amount <= there, f"{amount:g} x {name}; this machine has {there}"
    return "" if fits else f"{words}. Ask for less, or run it on a cluster"
