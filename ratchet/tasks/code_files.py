"""The files in a model's `code/`: which are allowed, and how they are read. Nothing here runs them."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ratchet.core.errors import DataRejected

NUM_FILES_MAX = 500
FILE_BYTES_MAX = 4 * 2**20
CODE_BYTES_MAX = 16 * 2**20
DATA_SUFFIXES = (".csv", ".json", ".npy", ".npz", ".toml", ".tsv", ".txt", ".yaml", ".yml")
"""Of small files that a module reads from its own folder. NumPy refuses pickles in .npy and .npz by default."""
_SUFFIXES = (".py", *DATA_SUFFIXES)
_PART = re.compile(r"[^\W][\w.+-]*")


@dataclass(frozen=True)
class CodeFile:
    """One file of a model's code."""

    content: bytes
    path: Path
    """Where it was read: its name in tracebacks, and `__file__` of the module."""


def check_code_name(name: str, *, where: str) -> str:
    """The path of a file inside `code/`, when a model may carry it; DataRejected says why not."""
    parts = name.split("/")
    if PurePosixPath(name).is_absolute() or not all(_PART.fullmatch(part) for part in parts):
        raise DataRejected(f"{where}: {name!r} is no path of a file in a model's code. Remove that file.")
    if not name.endswith(_SUFFIXES):
        raise DataRejected(f"{where}: a model's code holds {', '.join(_SUFFIXES)} only, not {name}. Remove that file.")
    return name


def check_code_size(files: Mapping[str, CodeFile], *, where: str) -> None:
    """DataRejected when a model may not carry that much."""
    if len(files) > NUM_FILES_MAX:
        raise DataRejected(f"{where}: {len(files)} files of code; a model carries at most {NUM_FILES_MAX}.")
    for name, file in files.items():
        if len(file.content) > FILE_BYTES_MAX:
            raise DataRejected(
                f"{where}: {name} has {len(file.content)} bytes; a model carries files of at most {FILE_BYTES_MAX} "
                "bytes beside its weights. Make it smaller, or put its numbers into the network's buffers."
            )
    if (total := sum(len(file.content) for file in files.values())) > CODE_BYTES_MAX:
        raise DataRejected(f"{where}: {total} bytes of code; a model carries at most {CODE_BYTES_MAX}.")


def read_code(folder: Path) -> dict[str, CodeFile]:
    """The files of a `code/` folder by their paths in it; {} when there is none. DataRejected names one that may not
    be there: a link, another kind of file, too much."""
    if folder.is_symlink():
        raise DataRejected(f"{folder}: a link. A model's code is plain files. Remove it.")
    files: dict[str, CodeFile] = {}
    for path in _list_files(folder):
        name = check_code_name(path.relative_to(folder).as_posix(), where=str(folder.parent))
        if path.stat().st_size > FILE_BYTES_MAX or len(files) >= NUM_FILES_MAX:
            raise DataRejected(
                f"{path}: a model's code is at most {NUM_FILES_MAX} files of {FILE_BYTES_MAX} bytes. Remove that file."
            )
        files[name] = CodeFile(path.read_bytes(), path)
    check_code_size(files, where=str(folder))
    return files


def write_code(folder: Path, files: Mapping[str, CodeFile]) -> None:
    """Write files below a folder, by their paths in it."""
    for name, file in files.items():
        path = folder / check_code_name(name, where=str(folder))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)


def _list_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            path = Path(parent) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise DataRejected(f"{path}: a link or a special file. A model's code is plain files. Remove it.")
            if name in names:
                yield path
        folders.sort()
