"""Replacing what `ratchet.wiring` builds, for all who ask: through the front, from another room, or in the same one."""

import sys
from collections.abc import Callable

import pytest

from ratchet import wiring


def wire(monkeypatch: pytest.MonkeyPatch, **builders: Callable[..., object]) -> None:
    """Replace builders by name until the test ends; what was built from the real ones before is forgotten."""
    unknown = sorted(builders.keys() - set(wiring.__all__))
    assert not unknown, f"ratchet.wiring has no {', '.join(unknown)}"
    names = sorted(name for name in sys.modules if f"{name}.".startswith("ratchet.wiring."))
    modules = [sys.modules[name] for name in names]
    for module in modules:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
        for name in builders.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, builders[name])
