"""Look at every task's champion: does it serve?"""

from collections.abc import Callable, Sequence

from ratchet.core.errors import RatchetError
from ratchet.core.models.ledger import champion_of
from ratchet.core.ports import Clock, InferenceServices, Ledger
from ratchet.core.rollout.champions import ChampionView, champion_view, unknown_view

_POLL_S = 0.3


def look_at_champions(
    tasks: Sequence[str], *, ledger: Callable[[], Ledger], services: Callable[[], InferenceServices]
) -> tuple[ChampionView, ...]:
    """One view a task, in order. A task that cannot be looked at is unknown, and the others are seen all the same."""
    return tuple(_look(task, ledger, services) for task in tasks)


def wait_for_champions(
    tasks: Sequence[str],
    *,
    ledger: Callable[[], Ledger],
    services: Callable[[], InferenceServices],
    clock: Clock,
    within_s: float,
) -> tuple[ChampionView, ...]:
    """Until none is on its way any more, at most `within_s`; gives what was seen last."""
    deadline_s = clock.elapsed_s() + within_s
    while True:
        views = look_at_champions(tasks, ledger=ledger, services=services)
        if all(view.state not in {"starting", "unknown"} for view in views) or clock.elapsed_s() >= deadline_s:
            return views
        clock.sleep(_POLL_S)


def _look(task: str, ledger: Callable[[], Ledger], services: Callable[[], InferenceServices]) -> ChampionView:
    try:
        champion = champion_of(ledger().list_entries(task))
        return champion_view(task, champion, services().fetch(task) if champion else None)
    except RatchetError as error:
        return unknown_view(task, error)
