"""A model's code as modules of its own: imported from bytes in memory, under a name that nothing else has.

`churn.task` of one model becomes `ratchet_model_<digest>.churn.task`: several versions of a module live in one process,
and no later `import churn.task` meets any of them. Inside, an import means what it meant in training: each module has
an `__import__` of its own (in its `__builtins__`, so that functions use it whenever they run), which answers with the
model's modules, and refuses what is neither the model's nor installed.
"""

import builtins
import importlib
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import resolve_name, spec_from_file_location, spec_from_loader
from types import CodeType, ModuleType
from typing import Any

from ratchet.core.digest import digest_of, digest_of_bytes
from ratchet.tasks.code_files import CodeFile
from ratchet.tasks.origins import origin_of

_PREFIX = "ratchet_model_"


class ModelModules:
    """The modules of one model's code. Equal files at equal places are the same modules."""

    def __init__(self, files: Mapping[str, CodeFile]) -> None:
        identity = {name: [str(file.path), digest_of_bytes(file.content)] for name, file in files.items()}
        self.prefix = _PREFIX + digest_of(identity)[:16]
        self.files = files
        self._allowed: set[str] = set()
        self._paths = _module_paths(files)
        """Of the model's modules, in `code/`."""
        self._namespaces = {""} | {parent for name in self._paths for parent in _parents_of(name)} - self._paths.keys()

    def import_module(self, name: str) -> ModuleType:
        """A module of the model, by the name that it has in the user's own code."""
        _finder.known.setdefault(self.prefix, self)
        return importlib.import_module(f"{self.prefix}.{name}")

    def spec_of(self, name: str) -> ModuleSpec:
        """ModuleNotFoundError for a module that the model does not have."""
        full = f"{self.prefix}.{name}" if name else self.prefix
        if name in self._namespaces:
            spec = spec_from_loader(full, _NamespaceLoader(self, name), is_package=True)
        elif name in self._paths:
            file, is_package = self.files[self._paths[name]], self._paths[name].endswith("/__init__.py")
            loader = _SourceLoader(full, file, self)
            places = [str(file.path.parent)] if is_package else None
            spec = spec_from_file_location(full, file.path, loader=loader, submodule_search_locations=places)
        else:
            raise ModuleNotFoundError(f"No module named {name!r} in the model's code", name=full)
        assert spec is not None
        return spec

    @cached_property
    def builtins(self) -> dict[str, Any]:
        """What the model's modules see as built in."""
        return {**vars(builtins), "__import__": self._import}

    def outside(self, name: str) -> ModuleType:
        """A module that is not the model's: Python's, an installed one, or Ratchet's. Others are refused, since they
        would be whatever lies in a folder of this machine today."""
        if name not in self._allowed:
            top = name.partition(".")[0]
            origin = origin_of(top)
            if (origin_of(name) if origin == "namespace" else origin) in {"own", "namespace"}:
                raise ModuleNotFoundError(
                    f"No module named {name!r} in the model's code. A module that is imported by a name computed at "
                    "run time is not carried: import it in an `import` statement",
                    name=name,
                )
            self._allowed.add(name)
        return importlib.import_module(name)

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` as Python specifies it, for code of the model."""
        package = str((globals or {}).get("__package__") or "")
        logical = self._logical(resolve_name("." * level + name, package) if level else name)
        if logical == "importlib" or (logical.startswith("importlib.") and not fromlist):
            # `import importlib.util` must load it; the model gets a view whose `import_module` knows its modules.
            builtins.__import__(logical, globals, locals, fromlist, 0)
            return self._importlib
        if self.has(logical):
            if fromlist:
                return builtins.__import__(f"{self.prefix}.{logical}", globals, locals, fromlist, 0)
            self.import_module(logical)
        else:
            self.outside(logical)
            if fromlist:
                return builtins.__import__(logical, globals, locals, fromlist, 0)
        # As Python has it: without names to import the first part of the name is bound.
        top = logical.partition(".")[0]
        return self.import_module(top) if self.has(top) else sys.modules[top]

    def _import_by_name(self, name: str, package: str | None = None) -> ModuleType:
        """`importlib.import_module`, for code of the model."""
        logical = self._logical(resolve_name(name, package or "") if name.startswith(".") else name)
        return self.import_module(logical) if self.has(logical) else self.outside(logical)

    @cached_property
    def _importlib(self) -> ModuleType:
        view = ModuleType("importlib", importlib.__doc__)
        vars(view).update(__getattr__=lambda name: getattr(importlib, name), import_module=self._import_by_name)
        return view

    def has(self, name: str) -> bool:
        """Whether a name is the model's: a module, a folder of modules, or anything in one of its packages."""
        return name in self._paths or name in self._namespaces or any(each in self._paths for each in _parents_of(name))

    def _logical(self, name: str) -> str:
        """The name that a module has in the user's own code."""
        return name.removeprefix(f"{self.prefix}.")


class _ModelFinder(MetaPathFinder):
    """Finds modules of models by their first name; every other import is none of its business."""

    def __init__(self) -> None:
        self.known: dict[str, ModelModules] = {}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        prefix, _, name = fullname.partition(".")
        model = self.known.get(prefix)
        return model.spec_of(name) if model else None


class _SourceLoader(SourceFileLoader):
    """From bytes in memory: those that were compared with the digest. Neither reads nor writes `.pyc` files."""

    def __init__(self, fullname: str, file: CodeFile, model: ModelModules) -> None:
        super().__init__(fullname, str(file.path))
        self._file, self._model = file, model

    def get_data(self, path: Any) -> bytes:
        return self._file.content if str(path) == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._file.content, self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._model.builtins
        super().exec_module(module)


class _NamespaceLoader(Loader):
    """A folder without `__init__.py`. What it lacks may be in an installed package of that name (`ratchet.tasks`)."""

    def __init__(self, model: ModelModules, name: str) -> None:
        self._model, self._name = model, name

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = self._get

    def _get(self, attribute: str) -> Any:
        if not self._name or attribute.startswith("__"):
            raise AttributeError(attribute)
        if self._model.has(
            f"{self._name}.{attribute}"
        ):  # asked before it is imported: its sibling outside must not win
            return self._model.import_module(f"{self._name}.{attribute}")
        try:
            above = self._model.outside(self._name)
            if hasattr(above, attribute):
                return getattr(above, attribute)
            return self._model.outside(f"{self._name}.{attribute}")
        except ImportError as error:
            raise AttributeError(f"{self._name} has no attribute {attribute!r}: {error}") from None


def _module_paths(files: Mapping[str, CodeFile]) -> dict[str, str]:
    """Module name to path, as Python reads a folder: a package comes before a module of the same name."""
    paths: dict[str, str] = {}
    for path in sorted(files):
        if not path.endswith(".py"):
            continue
        is_package = path.endswith("/__init__.py")
        name = path.removesuffix("/__init__.py" if is_package else ".py").replace("/", ".")
        if is_package or name not in paths:
            paths[name] = path
    return paths


def _parents_of(name: str) -> list[str]:
    """`a.b` and `a` of `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]


_finder = _ModelFinder()
sys.meta_path.insert(0, _finder)
