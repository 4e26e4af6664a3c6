"""Which files of which finished runs go. Pure: what is there, and the limits in; what to remove, and why, out.

Nothing of an unfinished run goes, and no artifact that the cached task of a run that stays still points to. The records
of runs, their states and times, always stay.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.config import Retention

GIB = 1024**3


class KeptFiles(BaseModel):
    """The files of one run that is over."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    finished_at: datetime
    size_bytes: int = 0
    users: frozenset[str] = frozenset()
    """Runs whose cached tasks point to its artifacts."""
    is_deleted: bool = False
    """Its run was deleted: nobody can ask for them."""


class Removal(BaseModel):
    """What to remove of a run, and why; the reason is shown instead of its logs."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    reason: str
    with_artifacts: bool
    """False while a run that stays points to them: then only the logs go."""


def plan_removals(
    files: Sequence[KeptFiles], *, unfinished: frozenset[str], used_bytes: int, retention: Retention, now: datetime
) -> list[Removal]:
    """unfinished: ids of runs that are not over. used_bytes: of all runs, those included."""
    newest_first = sorted(files, key=lambda one: (one.finished_at, one.run_id), reverse=True)
    reasons = dict(_due(newest_first, retention=retention, now=now))
    staying = unfinished | {one.run_id for one in files if one.run_id not in reasons}
    quota_bytes = int(retention.disk_quota_gib * GIB)
    left_bytes = used_bytes - sum(_freed_bytes(one, staying) for one in files if one.run_id in reasons)
    for one in reversed(newest_first):
        if quota_bytes and left_bytes > quota_bytes and one.run_id not in reasons:
            reasons[one.run_id] = f"all runs together had over {retention.disk_quota_gib:g} GiB (--disk-quota-gib)"
            staying -= {one.run_id}
            left_bytes -= _freed_bytes(one, staying)
    return [
        Removal(run_id=one.run_id, reason=reasons[one.run_id], with_artifacts=not one.users & staying)
        for one in newest_first
        if one.run_id in reasons
    ]


def _freed_bytes(one: KeptFiles, staying: frozenset[str]) -> int:
    """Logs are small beside artifacts, so that only these count."""
    return 0 if one.users & staying else one.size_bytes


def _due(newest_first: Sequence[KeptFiles], *, retention: Retention, now: datetime) -> Iterator[tuple[str, str]]:
    oldest = now - timedelta(days=retention.keep_days)
    rank = 0
    for one in newest_first:
        rank += not one.is_deleted
        if one.is_deleted:
            yield one.run_id, "the run was deleted"
        elif retention.keep_days and one.finished_at < oldest:
            yield one.run_id, f"the run ended over {retention.keep_days:g} days ago (--keep-days)"
        elif retention.keep_runs and rank > retention.keep_runs:
            yield one.run_id, f"{retention.keep_runs} runs ended after it (--keep-runs)"
