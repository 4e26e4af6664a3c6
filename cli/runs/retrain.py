"""`ratchet run retrain`: a run by hand, followed to its end if wanted."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.names import TaskOption
from cli.output import WAIT_HELP, JsonFlag, print_json, stderr, stdout
from cli.person import user_name
from cli.runs.find import TimeoutOption
from ratchet.core.errors import Conflict, NotFound, RatchetError, Unavailable
from ratchet.core.runs import Skip, TriggerPolicy, plan_request

if TYPE_CHECKING:
    from ratchet.actions.runs.retraining import RetrainPorts, TaskLook

_CLAIM_POLL_S = 1.0
_CLAIM_MARGIN_S = 10.0
"""Beyond the lease: for a slow look, and for the store's clock, which is another one than ours."""


def add_to(group: typer.Typer) -> None:
    """Add the command of this module to `ratchet run`."""
    group.command()(retrain)


def retrain(
    task: TaskOption,
    wait: Annotated[bool, typer.Option("--wait", help=WAIT_HELP)] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Run although no label is new, or the same labels were tried before.")
    ] = False,
    allow_rolled_back: Annotated[
        bool,
        typer.Option("--allow-rolled-back", help="First take the model that was rolled back last off the deny-list."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do not take over what a failed run finished: train again.")
    ] = False,
    check: Annotated[bool, typer.Option(help="Try the task's code on one batch first.")] = True,
    timeout_s: TimeoutOption = 3600.0,
    as_json: JsonFlag = False,
) -> None:
    """Train on the waiting labels now, below the threshold too. A task has one run at a time.

    Repeating the command is safe: with a run in flight, exit code 6 names it. --wait first follows that run to its end,
    then starts a run for the labels that it left, if any.

    Example: ratchet run retrain --task digits --wait
    """
    from cli.runs.turns import name_ended, start_in_turn
    from cli.tasks import require_sound
    from ratchet import wiring

    # Before the code is tried, which takes seconds: a run may come and go meanwhile.
    ended_before = name_ended(task) if wait else ""
    if check:
        require_sound(wiring.task_checks().check([wiring.task_spec(task)]))
    if allow_rolled_back:
        _allow_rolled_back(task)
    if wait:
        started = start_in_turn(
            lambda: start_retrain(task, again=again, fresh=fresh),
            task=task,
            ended_before=ended_before,
            timeout_s=timeout_s,
        )
    else:
        started = start_retrain(task, again=again, fresh=fresh)
    show_started(started, wait=wait, timeout_s=timeout_s, as_json=as_json)


def show_started(started: dict[str, Any], *, wait: bool, timeout_s: float, as_json: bool) -> None:
    """Print a run that was started; with `wait` follow it to its end and exit by its outcome."""
    from cli.runs.outcome import outcome_of, outcome_row, print_outcome
    from cli.runs.view import watch
    from ratchet import wiring

    if wait and started["run_id"] is None:
        raise Unavailable(f"{started['name']} is claimed but not submitted yet: the sensor submits it within a minute.")
    exit_code, outcome = 0, None
    if wait:
        ended = wiring.pipelines().fetch_run(str(started["run_id"]))
        if not ended.is_finished:  # else it was followed already
            ended = watch(wiring.pipelines(), ended.run_id, timeout_s=timeout_s)
        outcome, exit_code = outcome_of(ended)
        started = {**started, "state": ended.state, "error": ended.error, "outcome": outcome_row(outcome)}
    if as_json:
        print_json(started)
    else:
        stdout.print(f"{started['name']}  {started['state']}  {started['run_id']}", markup=False)
        print_outcome(outcome)
    if exit_code:
        raise typer.Exit(exit_code)


def start_retrain(task: str, *, again: bool, fresh: bool = False) -> dict[str, Any]:
    """Claim and submit a run; gives its row for `show_started`. Conflict or NotFound when it may not start."""
    from ratchet import wiring
    from ratchet.actions.runs.retraining import start_run

    digest = wiring.policy_digest(task)
    policy = wiring.policy(task, "trigger", TriggerPolicy)
    ports = wiring.retrain_ports()
    look = _look_past_claims(ports, task)
    situation = look.situation(policy, task=task, policy_digest=digest)
    decision = plan_request(situation, again=again, now=ports.clock.now())
    if isinstance(decision, Skip):
        raise _refusal(decision, is_empty=look.backlog.num_labels == 0 and not look.is_busy)
    if fresh:
        wiring.finished_work().forget(task)
    run = start_run(ports, decision, look)
    return {
        "name": run.claim.run_name,
        "run_id": run.run_id,
        "run_key": decision.run_key,
        "attempt": decision.attempt,
        "reason": decision.reason,
        "state": "PENDING",
    }


def _look_past_claims(ports: "RetrainPorts", task: str) -> "TaskLook":
    """The task once no claim hangs: whoever left one without a run is given his time, then it is submitted here.

    So it takes no sensor to get over a process that died between its claim and its run.
    """
    from ratchet.actions.runs.retraining import look_at_task

    look = look_at_task(ports, task=task)
    deadline_s = ports.clock.elapsed_s() + ports.journal.lease_s + _CLAIM_MARGIN_S
    is_told = False
    while look.newest_claim and look.newest_claim.is_unsubmitted and ports.clock.elapsed_s() < deadline_s:
        if not is_told:
            name, wait_s = look.newest_claim.claim.run_name, ports.journal.lease_s
            stderr.print(f"{name} is claimed and has no run yet; waiting for its owner, {wait_s:.0f} s", markup=False)
            is_told = True
        ports.clock.sleep(_CLAIM_POLL_S)
        look = look_at_task(ports, task=task)
    return look


def _allow_rolled_back(task: str) -> None:
    """The same labels train the same model, so a run after a rollback comes to a model that is refused."""
    from ratchet import wiring
    from ratchet.actions.models.promotions import allow_newest_refused

    allowed = allow_newest_refused(
        wiring.ledger(),
        task=task,
        reason="`ratchet run retrain --allow-rolled-back`",
        now=datetime.now(UTC),
        actor=user_name(),
    )
    told = f"version {allowed.version} may be rolled out again" if allowed else "no model is refused"
    stderr.print(f"{task}: {told}", markup=False)


def _refusal(skip: Skip, *, is_empty: bool) -> RatchetError:
    return (
        NotFound(f"No run was started: {skip.reason}") if is_empty else Conflict(f"No run was started: {skip.reason}")
    )
