"""Removing what tasks share and nobody has used for long: environments, volumes, and staged inputs of ended runs."""

import logging
import re
import shutil
from collections.abc import Collection
from datetime import datetime, timedelta

from embedded.control_plane.config import Retention
from embedded.control_plane.engine.attempt import Folders
from embedded.control_plane.engine.environments import remove_idle_environments
from embedded.control_plane.engine.volumes import remove_idle_volumes

log = logging.getLogger(__name__)

_STAGED_S_MIN = 3600.0
"""A run that was just retried stages its inputs anew."""
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def sweep_idle(folders: Folders, retention: Retention, *, unfinished: Collection[str], now: datetime) -> None:
    """One pass. unfinished: ids of runs that are not over."""
    if retention.keep_environment_days:
        unused_since = (now - timedelta(days=retention.keep_environment_days)).timestamp()
        num = remove_idle_environments(folders.environments_dir, unused_since=unused_since)
        if num:
            log.info("removed %d environments: unused or half built (--keep-environment-days)", num)
    if retention.keep_volume_days:
        unused_since = (now - timedelta(days=retention.keep_volume_days)).timestamp()
        names = remove_idle_volumes(folders.volumes_dir, unfinished=unfinished, unused_since=unused_since)
        if names:
            days = retention.keep_volume_days
            log.info("removed volumes unused for %g days (--keep-volume-days): %s", days, ", ".join(names))
    for folder in folders.staging_dir.glob("*"):
        is_ended = _RUN_ID.fullmatch(folder.name) is not None and folder.name not in unfinished
        if is_ended and now.timestamp() - folder.stat().st_mtime > _STAGED_S_MIN:
            shutil.rmtree(folder, ignore_errors=True)
