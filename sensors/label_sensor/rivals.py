"""The other tasks as a decision sees them, from the newest ticks that could see them. Pure."""

from collections.abc import Mapping

from ratchet.core.runs import Rival
from sensors.label_sensor.tick import TickReport

_DUE_CODES = frozenset({"no_slot", "yields"})


def rivals_of(task: str, seen: Mapping[str, TickReport], *, priorities: Mapping[str, int]) -> tuple[Rival, ...]:
    """Who else runs, and who else only waits for a slot."""
    return tuple(_rival(seen[other], priority=priorities.get(other, 0)) for other in sorted(seen.keys() - {task}))


def _rival(report: TickReport, *, priority: int) -> Rival:
    return Rival(
        task=report.task,
        priority=priority,
        is_running=report.is_running,
        is_due=report.outcome == "skip" and report.code in _DUE_CODES,
        last_started_at=report.last_started_at,
    )
