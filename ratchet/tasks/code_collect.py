"""Which source files decide a task's answers: the implementation's module and what it imports of the user's own.

    carried     the implementation's module (in Ratchet, too), and every module that it imports, also within functions,
                that is neither Python's, nor an installed distribution's, nor Ratchet's own; their packages'
                `__init__.py`; data files beside them that their source names
    recorded    name and version of the installed distributions that they import
    refused     by name: compiled modules, files read from elsewhere, too much

Found by reading source, never by running it. A module whose name is computed at run time is not found; a loaded model
refuses to import it from outside itself.
"""

import ast
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path

from ratchet.core.digest import digest_of, digest_of_bytes
from ratchet.core.errors import PolicyError
from ratchet.tasks.code_data import data_files_of
from ratchet.tasks.code_files import CodeFile, check_code_name, check_code_size
from ratchet.tasks.code_imports import imported_names
from ratchet.tasks.origins import LIBRARY, distributions_of, find_spec, is_installed, origin_of
from ratchet.tasks.spec import TaskSpec

_ALWAYS_RECORDED = ("numpy", LIBRARY, "torch")


@dataclass(frozen=True)
class TaskCode:
    """The code of one implementation at one moment."""

    files: Mapping[str, CodeFile]
    """By path inside `code/`."""
    requirements: Mapping[str, str]
    """Name and version of the installed distributions it uses."""
    library: Mapping[str, str] | None = None
    """Name and version of the installed distribution that holds the implementation itself; then `files` is empty."""

    @property
    def digest(self) -> str:
        contents = {name: digest_of_bytes(file.content) for name, file in self.files.items()}
        return digest_of({"files": contents, "library": dict(self.library) if self.library else None})


@dataclass
class _Collection:
    """Grows while modules are followed."""

    implementation: str
    files: dict[str, CodeFile] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)
    installed: set[str] = field(default_factory=set)
    waiting: list[str] = field(default_factory=list)


def collect_task_code(spec: TaskSpec) -> TaskCode:
    """The code of a task as it is on disk now. Give it to `load_task_from` and to `save_model`, so that a model
    carries the very code that trained it, whatever is edited meanwhile."""
    try:
        return collect_code(spec.implementation)
    except PolicyError as error:
        raise PolicyError(f"Task {spec.name!r}: cannot load {spec.implementation}: {error}") from None


def collect_code(implementation: str) -> TaskCode:
    """The code of `module:class` as it is on disk now. PolicyError when it cannot be found or carried."""
    module = implementation.partition(":")[0]
    importlib.invalidate_caches()  # a file that was written within the clock tick of its folder is not seen otherwise
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise PolicyError(
            f"No module named {module!r} is found where this runs, so {implementation} cannot be loaded. Install the "
            "module (on a cluster: in the images), or correct `implementation` in the task's file."
        )
    if _lies_in_a_library(module, spec):
        (library,) = list(distributions_of([module]).items())[:1] or [(module.partition(".")[0], "unknown")]
        versions = distributions_of([*_ALWAYS_RECORDED, module])
        return TaskCode({}, versions, {"name": library[0], "version": library[1]})
    found = _Collection(module, waiting=[module])
    while found.waiting:
        _follow(found.waiting.pop(), found)
    check_code_size(found.files, where=implementation)
    return TaskCode(dict(sorted(found.files.items())), distributions_of({*_ALWAYS_RECORDED, *found.installed}))


def _lies_in_a_library(module: str, spec: ModuleSpec) -> bool:
    return module.partition(".")[0] != LIBRARY and is_installed(Path(str(spec.origin)))


def _follow(name: str, found: _Collection) -> None:
    """Carry a module with the packages that hold it, and queue what they import."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        each = ".".join(parts[:depth])
        if each in found.followed:
            continue
        origin = "own" if each == found.implementation else origin_of(each)
        if origin == "own":
            found.followed.add(each)
            _carry(each, found)
        elif origin == "installed":
            found.installed.add(each)
            if parts[0] != LIBRARY:  # which holds examples that are carried
                return
        elif origin == "missing":
            return


def _carry(name: str, found: _Collection) -> None:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin)
    if path.suffix != ".py" or not path.is_file():
        raise PolicyError(
            f"{name} ({path}) is not a Python source file, so a model cannot carry it. Install it as a distribution "
            "where models are trained and served, or write it in Python."
        )
    is_package = spec.submodule_search_locations is not None
    inside = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
    content = path.read_bytes()
    found.files[check_code_name(inside, where=str(path))] = CodeFile(content, path)
    tree = _parse(content, path)
    package = name if is_package else name.rpartition(".")[0]
    found.waiting += sorted(imported_names(tree, package=package) - found.followed)
    root = path.parents[inside.count("/")]
    for file in data_files_of(content.decode(errors="replace"), tree, path=path, root=root):
        beside = file.relative_to(root).as_posix()
        found.files.setdefault(check_code_name(beside, where=str(path)), CodeFile(file.read_bytes(), file))


def _parse(content: bytes, path: Path) -> ast.AST:
    try:
        return ast.parse(content, filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise PolicyError(f"{path}{line}: {type(error).__name__}: {error}. Correct the file.") from None
