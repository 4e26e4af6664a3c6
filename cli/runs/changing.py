"""`ratchet runs terminate | retry`: end a run, or repeat what failed in it."""

import re
from typing import Annotated

import typer

from cli.output import WAIT_HELP, JsonFlag, print_json, stderr
from cli.runs.find import RunArgument, TimeoutOption, find_run
from ratchet.core.errors import Conflict
from ratchet.core.ports import Pipelines, RunState

_RUNNING_WITHIN_S = 10.0
_RETRY_POLL_S = 0.1


def add_to(group: typer.Typer) -> None:
    """Add the commands of this module to `ratchet runs`."""
    for command in (terminate, retry):
        group.command()(command)


def terminate(run: RunArgument, as_json: JsonFlag = False) -> None:
    """End a run. The sensor does not repeat a run that was ended by hand.

    Example: ratchet runs terminate retrain-digits-1f2e3d4c5b6a
    """
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    if found.is_finished:
        raise Conflict(f"Run {found.name} has ended already: {found.state}.")
    pipelines.terminate(found.run_id)
    _told("terminating", pipelines, found, as_json=as_json)


def retry(
    run: RunArgument,
    wait: Annotated[bool, typer.Option("--wait", help=WAIT_HELP)] = False,
    timeout_s: TimeoutOption = 3600.0,
    as_json: JsonFlag = False,
) -> None:
    """Run a failed run again from its failed tasks. Succeeded tasks do not run again.

    Of retrain runs, only the newest of a task can be retried: older ones were compared with an earlier champion.

    Example: ratchet runs retry retrain-digits-1f2e3d4c5b6a --wait
    """
    from cli.runs.outcome import outcome_of, print_outcome
    from cli.runs.view import watch
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    if not found.is_finished or found.is_green:
        raise Conflict(f"Run {found.name} is {found.state}; only a run that failed or was terminated can be retried.")
    task = _check_newest(found)
    pipelines.retry(found.run_id)
    if task is not None:
        _reclaim(pipelines, found, task=task)
    ended = watch(pipelines, found.run_id, timeout_s=timeout_s) if wait else None
    _told("retrying", pipelines, found, as_json=as_json)
    if ended is None:
        return
    outcome, exit_code = outcome_of(ended)
    if not as_json:
        print_outcome(outcome)
    if exit_code:
        raise typer.Exit(exit_code)


def _check_newest(run: RunState) -> str | None:
    """The task whose newest claim this run is, None of a run that is no claim's; Conflict of one that was passed."""
    from ratchet import wiring
    from ratchet.core.runs import RETRAIN, ROLLOUT, run_name_of

    for task in wiring.task_names():
        newest = wiring.run_journal().fetch_newest(task)
        if newest is not None and newest.run_id == run.run_id:
            return task
        # A name ends in 12 digits of its run key: without them the runs of the task `a-b` would be the task `a`'s.
        names = "|".join(re.escape(run_name_of(task, "", pipeline=each)) for each in (RETRAIN, ROLLOUT))
        if newest is not None and re.fullmatch(f"({names})[0-9a-f]{{12}}", run.name):
            raise Conflict(
                f"Run {run.name} is not the newest of {task}, {newest.claim.run_name} is. "
                f"`ratchet run retrain --task {task} --again` starts a new one."
            )
    return None


def _reclaim(pipelines: Pipelines, run: RunState, *, task: str) -> None:
    """Once KFP says that it runs: claimed before, whoever looks would write down its first end once more."""
    from ratchet import wiring
    from ratchet.actions.runs.claims import reclaim
    from ratchet.actions.runs.turn import is_run_of_newest_claim

    clock = wiring.clock()
    deadline_s = clock.elapsed_s() + _RUNNING_WITHIN_S
    while pipelines.fetch_run(run.run_id).is_finished and clock.elapsed_s() < deadline_s:
        clock.sleep(_RETRY_POLL_S)
    try:
        reclaim(wiring.run_journal(), task=task, run_id=run.run_id, clock=clock)
    except Conflict:
        # Somebody claimed it since (the sensor, or this command once more): as good when it is for this run.
        if not is_run_of_newest_claim(wiring.run_journal(), task=task, run_id=run.run_id):
            raise


def _told(deed: str, pipelines: Pipelines, run: RunState, *, as_json: bool) -> None:
    if as_json:
        print_json(pipelines.fetch_run(run.run_id).model_dump(mode="json"))
    else:
        stderr.print(f"{deed} {run.name} ({run.run_id})", markup=False)
