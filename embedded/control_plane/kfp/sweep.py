"""Removing the files of old runs. One thread looks once a minute at what is on disk; retention.py decides.

What goes is written down before it is removed: after a crash in between, the next pass finds the rest and removes it.
"""

import itertools
import logging
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from embedded.control_plane.config import Retention
from embedded.control_plane.engine.attempt import Folders
from embedded.control_plane.errors import NotFound
from embedded.control_plane.kfp.idle import sweep_idle
from embedded.control_plane.kfp.retention import GIB, KeptFiles, Removal, plan_removals
from embedded.control_plane.kfp.store import Document, Store
from embedded.control_plane.kfp.wire import FINAL_STATES, parse_time, time_text
from wire.loop import Loop

log = logging.getLogger(__name__)

PAUSE_S = 60.0
FIRST_PAUSE_S = 2.0
_MOST_AT_ONCE = 200
"""A pass stays short, for the end of the server waits for it; the next one takes the rest."""
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Sweep:
    """Keeps the disk within its limits, while its loop is started."""

    def __init__(self, store: Store, folders: Folders, retention: Retention) -> None:
        self._store = store
        self._folders = folders
        self._logs_dir = folders.data_dir / "logs"
        self._retention = retention
        self._sizes: dict[tuple[str, str], int] = {}
        """Of runs that are over, by id and end: they grow no more."""
        self._is_over_quota = False
        self.loop = Loop(
            "removal of old files",
            self._sweep_all,
            pause_s=PAUSE_S,
            first_pause_s=FIRST_PAUSE_S,
            late_s_max=3600.0,
        )

    def sweep(self, now: datetime) -> list[Removal]:
        """One pass; gives what it removed, at most 200 runs."""
        folders = dict(self._folders_on_disk())
        runs = {run_id: self._run_of(run_id) for run_id in folders}
        sizes = {run_id: self._size_of(run_id, runs[run_id], paths) for run_id, paths in folders.items()}
        # After the look at the disk: a run that was retried since then counts as unfinished.
        unfinished = frozenset(self._store.unfinished_runs())
        files = [self._files_of(run_id, runs[run_id], sizes[run_id]) for run_id in folders if run_id not in unfinished]
        used_bytes = sum(sizes.values())
        plan = plan_removals(files, unfinished=unfinished, used_bytes=used_bytes, retention=self._retention, now=now)
        # The plan has the newest first: its end is what is oldest.
        done = [removal for removal in plan[-_MOST_AT_ONCE:] if self._remove(removal, folders[removal.run_id], now=now)]
        self._tell(done, used_bytes - sum(sizes[removal.run_id] for removal in done if removal.with_artifacts))
        return done

    def _sweep_all(self) -> None:
        self.sweep(datetime.now(UTC))
        unfinished = frozenset(self._store.unfinished_runs())
        sweep_idle(self._folders, self._retention, unfinished=unfinished, now=datetime.now(UTC))

    def _folders_on_disk(self) -> Iterator[tuple[str, list[Path]]]:
        """Each run that has files, with its folders: that of the logs first."""
        found: dict[str, list[Path]] = {}
        folders = self._folders
        kept = (folders.artifacts_dir.glob("*/*"), folders.workspaces_dir.glob("*"))
        for path in (*self._logs_dir.glob("*"), *itertools.chain(*kept)):
            if _RUN_ID.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                found.setdefault(path.name, []).append(path)
        yield from found.items()

    def _run_of(self, run_id: str) -> Document | None:
        try:
            return self._store.get("run", run_id)
        except NotFound:
            return None

    def _size_of(self, run_id: str, run: Document | None, paths: list[Path]) -> int:
        key = (run_id, str(run.get("finished_at")) if run else "")
        if key not in self._sizes or run is None or run["state"] not in FINAL_STATES:
            self._sizes[key] = sum(_bytes_in(path) for path in paths)
        return self._sizes[key]

    def _files_of(self, run_id: str, run: Document | None, size_bytes: int) -> KeptFiles:
        finished_at = parse_time(run["finished_at"]) if run and run.get("finished_at") else _LONG_AGO
        users = frozenset(self._store.users_of(run_id))
        return KeptFiles(
            run_id=run_id, finished_at=finished_at, size_bytes=size_bytes, users=users, is_deleted=run is None
        )

    def _remove(self, removal: Removal, paths: list[Path], *, now: datetime) -> bool:
        """False when there was nothing left to remove, or the run has been started again meanwhile."""
        with self._store.transaction():
            run = self._run_of(removal.run_id)
            if run is not None and run["state"] not in FINAL_STATES:
                return False
            if removal.with_artifacts:
                self._store.remove_cached_of(removal.run_id)
            self._store.remove_uses(removal.run_id)
            if run is not None:
                note = {"at": time_text(now), "reason": removal.reason, "with_artifacts": removal.with_artifacts}
                self._store.change("run", removal.run_id, lambda found: {**found, "_files_removed": note})
        gone = [path for path in paths if removal.with_artifacts or path.parent == self._logs_dir]
        for path in gone:
            shutil.rmtree(path, ignore_errors=True)
        self._sizes = {key: size for key, size in self._sizes.items() if key[0] != removal.run_id}
        return bool(gone)

    def _tell(self, done: list[Removal], used_bytes: int) -> None:
        if done:
            log.info("removed the files of %d runs, the first because %s", len(done), done[-1].reason)
        quota_gib = self._retention.disk_quota_gib
        is_over = bool(quota_gib) and used_bytes > quota_gib * GIB
        if is_over and not self._is_over_quota:
            log.warning(
                "logs and artifacts have %.1f GiB, the quota is %g GiB, and the remaining files are still needed. "
                "Delete runs, or raise --disk-quota-gib.",
                used_bytes / GIB,
                quota_gib,
            )
        self._is_over_quota = is_over


def _bytes_in(folder: Path) -> int:
    """Of regular files; one that goes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_size
            except OSError:
                continue
    return total
