"""Files that a module reads: those in its own folder go with it, one anywhere else could not."""

import ast
from collections.abc import Iterator
from pathlib import Path

from ratchet.core.errors import PolicyError
from ratchet.tasks.code_files import DATA_SUFFIXES, FILE_BYTES_MAX
from ratchet.tasks.code_imports import live_nodes

_KNOWS_ITS_FOLDER = ("__file__", "importlib.resources", "importlib_resources", "pkgutil", "__path__", "__spec__")
_READERS = {"open", "Path", "fromfile", "genfromtxt", "memmap", "safe_open", "from_file"}
_READER_PREFIXES = ("load", "read")


def data_files_of(source: str, tree: ast.AST, *, path: Path, root: Path) -> list[Path]:
    """The files beside a module that its source names: `Path(__file__).parent / "data" / "vocabulary.json"`.

    Looked for in the module's folder, then in those above it up to `root`, from which its imports start.
    PolicyError names a file that a model cannot carry, and one that is read from outside.
    """
    _refuse_outside_files(tree, path=path, root=root)
    if not any(word in source for word in _KNOWS_ITS_FOLDER):
        return []
    found = {file for name in _names_in(tree) if (file := _beside(name, path=path, root=root))}
    for file in sorted(found):
        if file.suffix not in (".py", *DATA_SUFFIXES):
            raise PolicyError(
                f"{path} reads {file}: a model carries {', '.join(DATA_SUFFIXES)} beside its code. Write what is in it "
                "in one of these forms, or keep it in the network's buffers."
            )
        if file.stat().st_size > FILE_BYTES_MAX:
            raise PolicyError(
                f"{path} reads {file}, {file.stat().st_size} bytes: a model carries files of at most {FILE_BYTES_MAX}. "
                "Make it smaller, or keep its numbers in the network's buffers."
            )
    return sorted(found)


def _names_in(tree: ast.AST) -> Iterator[str]:
    """Constant paths: `"a.json"` alone, and the parts of one expression joined, as in `folder / "data" / "a.json"`."""
    for node in live_nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.BinOp | ast.Call):
            yield "/".join(_constants_in(node))


def _constants_in(node: ast.AST) -> Iterator[str]:
    """In the order of the source."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
        return
    for child in ast.iter_child_nodes(node):
        yield from _constants_in(child)


def _beside(name: str, *, path: Path, root: Path) -> Path | None:
    if not name or len(name) > 255 or "\0" in name or "\n" in name or Path(name).is_absolute():
        return None
    folder = path.parent
    while folder.is_relative_to(root):
        file = Path(_normal(folder / name))
        if file.is_relative_to(root) and file.is_file() and file != path:
            return file
        if folder == folder.parent:
            break
        folder = folder.parent
    return None


def _normal(path: Path) -> str:
    """Without `..`, and without following links."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1] or parts
        else:
            parts.append(part)
    return str(Path(*parts))


def _refuse_outside_files(tree: ast.AST, *, path: Path, root: Path) -> None:
    """A file that is read from the working directory, or by an absolute path, decides answers and is in no model."""
    for node in live_nodes(tree):
        if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
            continue
        name = node.args[0].value
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        is_reader = called in _READERS or called.startswith(_READER_PREFIXES)
        if not is_reader or not isinstance(name, str) or not 0 < len(name) <= 255 or "\0" in name or "\n" in name:
            continue
        if Path(name).is_file():
            raise PolicyError(
                f"{path}, line {node.lineno}: reads {Path(name).absolute()}, which no model carries: an edit of that "
                "file would change what a serving model answers. Put it beside the module and read it with "
                f'`Path(__file__).parent / "{Path(name).name}"`.'
            )
