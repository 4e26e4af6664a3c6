"""Ports for a stack of a test. Two stacks that start at once, in two workers, would fight over the usual ones."""

from pathlib import Path

from embedded.control_plane.host.processes import is_port_free
from embedded.layout import Layout
from embedded.ports import StackPorts, plan_ports, random_ports

_USUAL = frozenset(dict(StackPorts()).values())


def with_own_ports(state_dir: Path) -> Path:
    """The state folder, which remembers ports of an earlier start that was none."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = plan_ports(
        remembered={}, is_free=lambda port: port not in _USUAL and is_port_free(port), candidates=random_ports()
    )
    Layout(state_dir=state_dir).ports.write_text(ports.model_dump_json())
    return state_dir
