"""A person's run in turn: what is in flight is followed to its end first."""

from collections.abc import Callable
from typing import Any

from cli.output import stderr
from cli.runs import view as run_view
from ratchet import wiring
from ratchet.core.errors import Conflict, NotFound
from ratchet.stores.run_claims import ClaimedRun


def name_ended(task: str) -> str:
    """The task's newest run, when it has ended; "" when there is none, or one is in flight."""
    newest = wiring.run_journal().fetch_newest(task)
    return newest.claim.run_name if newest is not None and newest.end is not None else ""


def start_in_turn(
    start: Callable[[], dict[str, Any]], *, task: str, ended_before: str, timeout_s: float
) -> dict[str, Any]:
    """Follow what is in flight, then start a run; the last one followed when it has left no labels.

    The sensor may start a run between a push and this command, or while this command tries the task's code: that run is
    what the caller waits for, also when it has ended by now. ended_before: what `name_ended` gave when the command
    began: not what the caller waits for.
    """
    clock = wiring.retrain_ports().clock
    deadline_s = clock.elapsed_s() + timeout_s
    followed = ""
    while True:
        try:
            return start()
        except (Conflict, NotFound):
            newest = wiring.run_journal().fetch_newest(task)
            if newest is None or newest.run_id is None or clock.elapsed_s() >= deadline_s:
                raise
            name = newest.claim.run_name
            if newest.end is not None or name == followed:
                if name == ended_before:
                    raise
                return _row_of(newest)
            stderr.print(f"{name} is in flight: following it first", markup=False)
            run_view.watch(wiring.pipelines(), newest.run_id, timeout_s=deadline_s - clock.elapsed_s())
            followed = name


def _row_of(claimed: ClaimedRun) -> dict[str, Any]:
    return {
        "name": claimed.claim.run_name,
        "run_id": claimed.run_id,
        "run_key": claimed.claim.trigger.run_key,
        "attempt": claimed.claim.trigger.attempt,
        "reason": "started before this command could start one",
        "state": "RUNNING",
    }
