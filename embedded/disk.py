"""What each part of the stack takes on disk, measured in a bounded time, and whether the disk is about to be full."""

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from embedded.layout import Layout

FREE_BYTES_MIN = 2 * 1024**3
FREE_RATIO_MIN = 0.1
"""The object store turns read-only at 1 % free, and the pipeline engine needs room to write what it decides."""
_WITHIN_S = 1.5
_GIB = 1024**3
_VOLUME_FILE = re.compile(r"(?:(?P<bucket>.+)_)?\d+\.(?:dat|idx|vif|cpd|cpx|ldb)")
"""SeaweedFS keeps each bucket in volume files of its own; those without a name hold what lies in no bucket."""


class DiskUse(BaseModel):
    """What one part takes, as allocated on disk."""

    model_config = ConfigDict(frozen=True)

    part: str
    size_bytes: int
    is_whole: bool = True
    """False when the time was over first: then it takes at least so much."""


class DiskReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    path: Path
    total_bytes: int
    free_bytes: int
    warning: str
    """ "" while there is room enough."""
    uses: tuple[DiskUse, ...]


def measure_disk(layout: Layout, *, within_s: float = _WITHIN_S) -> DiskReport:
    """Never longer than `within_s` and one folder more; the large trees come last."""
    deadline = time.monotonic() + within_s
    place = next(folder for folder in (layout.state_dir, *layout.state_dir.parents) if folder.is_dir())
    usage = shutil.disk_usage(place)
    uses = [*_uses_of_buckets(layout.object_store / "data", deadline)]
    uses += [_use_of(part, path, deadline) for part, path in _parts_of(layout).items()]
    return DiskReport(
        path=place,
        total_bytes=usage.total,
        free_bytes=usage.free,
        warning=warning_of(total_bytes=usage.total, free_bytes=usage.free, path=place),
        uses=tuple(uses),
    )


def warning_of(*, total_bytes: int, free_bytes: int, path: Path) -> str:
    """A sentence with both numbers and the next step; "" while there is room. Pure."""
    if free_bytes >= max(FREE_BYTES_MIN, FREE_RATIO_MIN * total_bytes):
        return ""
    return (
        f"the disk of {path} is almost full: {free_bytes / _GIB:.1f} GiB ({free_bytes / total_bytes:.0%}) are free, "
        f"{FREE_RATIO_MIN:.0%} and {FREE_BYTES_MIN // _GIB} GiB are needed. Free some space, or shorten the "
        f"retention (`ratchet space show`)"
    )


def _parts_of(layout: Layout) -> dict[str, Path]:
    own = layout.control_plane
    return {
        "mlflow database": layout.mlflow,
        "dataset repository": layout.dataset_repo,
        "server logs": layout.log_of("any").parent,
        "pages of runs": layout.state_dir / "reports",
        "models being served": own / "models",
        "volumes": own / "volumes",
        "task logs": own / "logs",
        "environments": own / "environments",
        "artifacts": own / "artifacts",
    }


def _uses_of_buckets(data: Path, deadline: float) -> Iterator[DiskUse]:
    sizes, others = Counter[str](), list[Path]()
    for entry in _entries_of(data):
        if entry.is_dir(follow_symlinks=False):
            others.append(Path(entry.path))
        elif found := _VOLUME_FILE.fullmatch(entry.name):
            sizes[f"s3: {found['bucket'] or 'other'}"] += _allocated(entry)
    yield from (DiskUse(part=part, size_bytes=size) for part, size in sorted(sizes.items()))
    index = [_use_of("s3: index", folder, deadline) for folder in others]
    if index:
        is_whole = all(use.is_whole for use in index)
        yield DiskUse(part="s3: index", size_bytes=sum(use.size_bytes for use in index), is_whole=is_whole)


def _use_of(part: str, root: Path, deadline: float) -> DiskUse:
    size_bytes, folders = 0, [root]
    while folders:
        if time.monotonic() > deadline:
            return DiskUse(part=part, size_bytes=size_bytes, is_whole=False)
        for entry in _entries_of(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            else:
                size_bytes += _allocated(entry)
    return DiskUse(part=part, size_bytes=size_bytes)


def _entries_of(folder: Path) -> list["os.DirEntry[str]"]:
    """Nothing for a folder that is not there, or not ours to read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _allocated(entry: "os.DirEntry[str]") -> int:
    """Of a file that may go meanwhile."""
    try:
        # stat(2) counts blocks of 512 bytes, whatever the file system's own are.
        return entry.stat(follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0
