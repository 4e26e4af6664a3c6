"""The folders that stand for PersistentVolumeClaims: who uses which, and which nobody has used for a long time.

`.used/<name>/<run id>` has the time at which a task of that run mounted the volume last.
"""

import shutil
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.control_plane.engine.environment import is_plain_name
from embedded.control_plane.errors import DataRejected

DEEDS = ".deeds"
_USED, _GONE = ".used", ".gone"
_FOUND = "found"
"""The mark of a volume that was there before uses were noted."""
_lock = threading.Lock()
"""A volume is not taken away between the note that a task uses it and the moment at which its folder is there."""


def claim_folder(volumes_dir: Path, name: str) -> Path:
    if not is_plain_name(name):
        raise DataRejected(f"PersistentVolumeClaim {name!r}: that is not a name.")
    return volumes_dir / name


@contextmanager
def used_by(volumes_dir: Path, name: str, *, run_id: str) -> Iterator[None]:
    """Note that a run uses a volume from now on, and make its folder in peace."""
    with _lock:
        _note_use(volumes_dir, name, run_id)
        yield


def forget_uses(volumes_dir: Path, name: str) -> None:
    """The volume was deleted."""
    shutil.rmtree(volumes_dir / _USED / name, ignore_errors=True)


def remove_idle_volumes(volumes_dir: Path, *, unfinished: Collection[str], unused_since: float) -> list[str]:
    """Remove volumes that no unfinished run has mounted and that were mounted last before then (s of the machine's
    clock); their names. A volume whose uses were never noted counts from now on."""
    removed = []
    # A list, for the loop renames what the glob walks over.
    for folder in list(volumes_dir.glob("*")):
        if is_plain_name(folder.name) and _take_away(volumes_dir, folder, unfinished, unused_since):
            removed.append(folder.name)
    shutil.rmtree(volumes_dir / _GONE, ignore_errors=True)
    _forget_deeds(volumes_dir, unfinished)
    return removed


def _take_away(volumes_dir: Path, folder: Path, unfinished: Collection[str], unused_since: float) -> bool:
    """Renamed at once, removed later: half a volume has no name."""
    with _lock:
        uses = volumes_dir / _USED / folder.name
        marks = list(uses.glob("*"))
        if not marks:
            _note_use(volumes_dir, folder.name, _FOUND)
            return False
        newest = max(mark.stat().st_mtime for mark in marks)
        if newest >= unused_since or any(mark.name in unfinished for mark in marks):
            _forget_ended(marks, unfinished, newest)
            return False
        gone = volumes_dir / _GONE
        gone.mkdir(exist_ok=True)
        folder.rename(gone / uuid.uuid4().hex)
        shutil.rmtree(uses, ignore_errors=True)
        return True


def _forget_deeds(volumes_dir: Path, unfinished: Collection[str]) -> None:
    """Who made or deleted a volume that is not there matters only to a run that may do so again."""
    for deed in (volumes_dir / DEEDS).glob("*"):
        run_id = deed.read_text().rpartition(" ")[2].partition("/")[0]
        if not (volumes_dir / deed.name).exists() and run_id not in unfinished:
            deed.unlink(missing_ok=True)


def _note_use(volumes_dir: Path, name: str, by: str) -> None:
    mark = volumes_dir / _USED / name / by
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _forget_ended(marks: list[Path], unfinished: Collection[str], newest: float) -> None:
    """Of the runs that are over only the last use counts."""
    for mark in marks:
        if mark.name not in unfinished and mark.stat().st_mtime < newest:
            mark.unlink()
