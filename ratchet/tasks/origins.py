"""Where a module comes from: the user's own files, an installed distribution, or Ratchet. Nothing is imported here."""

import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Literal

Origin = Literal["own", "installed", "namespace", "missing"]
_CARRIED = ("ratchet.tasks.digits", "ratchet.tasks.kinds")
"""Ratchet's modules, and packages of them, that hold models: carried like a user's, since they decide answers."""
LIBRARY = "ratchet"
_INSTALLED_FOLDERS = {"site-packages", "dist-packages"}
_STDLIB = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


def find_spec(name: str) -> ModuleSpec | None:
    """As `importlib.util.find_spec`, which would import the module's packages."""
    parent, _, _ = name.rpartition(".")
    path: Iterable[str] | None = None
    if parent:
        above = find_spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        path = list(above.submodule_search_locations)
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        # By its full name PathFinder asks sys.modules for the parent of a folder without `__init__.py`.
        known_as = name.rpartition(".")[2] if finder is PathFinder else name
        with suppress(KeyError):  # from a finder that asks PathFinder in its turn, as pytest's does
            if find and (spec := find(known_as, path, None)):
                return spec
    return None


def origin_of(name: str) -> Origin:
    """Whose module it is. A folder without `__init__.py` is nobody's: a namespace."""
    if name.partition(".")[0] == LIBRARY and not is_carried(name):
        return "installed"
    spec = find_spec(name)
    if spec is None:
        return "missing"
    if spec.origin in {"built-in", "frozen"}:
        return "installed"
    if spec.origin is None:
        return "namespace"
    return "installed" if is_installed(Path(spec.origin)) else "own"


def is_carried(name: str) -> bool:
    """Whether a module of Ratchet decides answers, so that a model carries it."""
    return name in _CARRIED or name.startswith(tuple(f"{each}." for each in _CARRIED))


def is_installed(path: Path) -> bool:
    """Whether a file belongs to Python itself or to an installed distribution (not an editable one)."""
    return bool(_INSTALLED_FOLDERS.intersection(path.parts)) or any(path.is_relative_to(each) for each in _STDLIB)


def distributions_of(names: Iterable[str]) -> dict[str, str]:
    """Name and version of the distributions that hold these modules; without those that none holds."""
    found = {}
    for name in sorted({name.partition(".")[0] for name in names} - sys.stdlib_module_names):
        for distribution in _distributions_with(name):
            found[distribution] = metadata.version(distribution)
    return found


def _distributions_with(name: str) -> tuple[str, ...]:
    """Reading every distribution's list of files takes 0.3 s: only where a name tells nothing."""
    try:
        return (metadata.distribution(name).metadata["Name"],)
    except metadata.PackageNotFoundError:
        return tuple(sorted(set(_all_distributions().get(name, ()))))


@lru_cache(maxsize=1)
def _all_distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())
