"""What a process has imported ahead, and what speaks against forking a step from it: a step must find in a fork what it
finds in an interpreter of its own. No imports of ours but one: warm_program.py forgets them before a step sees them.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedded.control_plane.engine.family import MARK_VARIABLE
from embedded.control_plane.host.child_env import recorded_reads

_READ_AT_LOAD = (
    *("CUDA_", "GOMP_", "GRPC_", "KMP_", "LANG", "LC_", "LD_"),
    *("MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "TZ"),
)
"""Variables that the interpreter or C code may read while it is loaded: no record of Python's shows that."""
_SET_ANEW = frozenset((MARK_VARIABLE, "OLDPWD", "PWD", "PYTHONPATH", "TMPDIR", "_KFP_RUNTIME"))
"""Variables whose effect on a start is repeated in the step; see warm_program.py."""


@dataclass(frozen=True)
class Warmth:
    """What this process knows of its imports."""

    read: frozenset[str]
    """Variables that modules read while they were imported."""
    given: Mapping[str, str]
    """The environment at that time."""
    exempt: frozenset[str]
    """Variables that were set for the imports alone."""
    names: frozenset[str]
    """Of all modules here, without those in packages: a file of that name in a step's own folder would win."""
    stamps: Mapping[str, int]
    """When each folder of packages was changed last, in ns."""


def problem_in(env: Mapping[str, str], cwd: str, warmth: Warmth) -> str:
    """Why a step with these variables must have an interpreter of its own; "" when nothing speaks against a fork."""
    for name in sorted({*env, *warmth.given} - warmth.exempt - _SET_ANEW):
        is_read = name in warmth.read or name.startswith(_READ_AT_LOAD)
        if is_read and env.get(name) != warmth.given.get(name):
            return f"it sets {name}, which is read when a process starts or while modules are imported"
    for folder in own_folders(env, cwd):
        if hidden := sorted(warmth.names.intersection(_modules_in(Path(folder)))):
            return f"{folder} has a module {hidden[0]!r}, which comes before the installed one"
    return ""


def own_folders(env: Mapping[str, str], cwd: str) -> list[str]:
    """Where a step looks for modules first, as absolute paths."""
    given = env.get("PYTHONPATH", "").split(os.pathsep)
    return [cwd, *(os.path.normpath(Path(cwd) / folder) for folder in given if folder)]


def _modules_in(folder: Path) -> Iterator[str]:
    """Names that Python would import from here. A folder that is no package gives way to a module further on."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            name, dot, _ = path.name.partition(".")
            if path.suffix in {".py", ".pyc", ".so"} if dot else (path / "__init__.py").exists():
                yield name


def stale_in(warmth: Warmth) -> str:
    """Which installed packages changed since they were imported; "" when none did."""
    changed = [folder for folder, stamp in warmth.stamps.items() if _stamp_of(folder) != stamp]
    return f"packages in {changed[0]} were installed or removed" if changed else ""


def _stamp_of(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def warm_up(modules: Sequence[str], exempt: frozenset[str]) -> Warmth:
    with recorded_reads() as (read, given):
        for name in modules:
            try:
                importlib.import_module(name)
            except ImportError as error:  # an installation without it has no step that needs it
                sys.stderr.write(f"{name} is not imported ahead: {error}\n")
    stamps = {folder: _stamp_of(folder) for folder in _imported_from()}
    names = {name.partition(".")[0] for name in sys.modules} - {"__main__", "__mp_main__"}
    return Warmth(frozenset(read), given, exempt, frozenset(names), stamps)


def _imported_from() -> set[str]:
    """Folders of the path that a module here came from. Others are there, too: that of an editable installation."""
    files = [str(getattr(module, "__file__", None) or "") for name, module in sys.modules.items() if "." not in name]
    parents = {str(Path(file).parent.parent if file.endswith("__init__.py") else Path(file).parent) for file in files}
    return parents & set(sys.path)
