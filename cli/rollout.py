"""Commands that watch a rollout, steer it, and undo one."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from cli.limits import TIMEOUT_S_MAX, check_finite
from cli.names import TaskOption
from cli.output import WAIT_HELP, JsonFlag, print_json, stderr, stdout
from cli.person import user_name
from ratchet.core.models.ledger import LedgerEntry, champion_of
from ratchet.core.rollout.policy import RolloutPolicy

if TYPE_CHECKING:
    from ratchet.actions.rollout.ports import RolloutPorts

rollout = typer.Typer(help="Show a rollout in progress, and control it.", no_args_is_help=True)

ReasonOption = Annotated[str, typer.Option(help="Why; the rollout records it.")]
_ABORT_WITHIN_S = 20.0
"""How long `abort` waits for the controller; it looks twice a second."""
_REFRESH_S = 1.0


def add_to(app: typer.Typer) -> None:
    """Add `rollback` and `rollout …`."""
    app.add_typer(rollout, name="rollout")
    app.command("rollback")(roll_back_task)


def roll_back_task(
    task: TaskOption,
    reason: Annotated[str, typer.Option(help="Why; the ledger records it.")] = "started on the command line",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Close an open canary, else restore the previous champion. The replaced model is refused afterwards.

    Example: ratchet rollback --task digits --reason "wrong answers for 7s" --yes
    """
    from ratchet import wiring
    from ratchet.actions.rollout.rollback import find_open_rollout, roll_back

    policy = wiring.policy(task, "rollout", RolloutPolicy)
    ports = wiring.rollout_ports()
    entries = ports.ledger.list_entries(task)
    plan = _plan_of(ports, find_open_rollout(ports, ports.services.fetch(task), entries, task=task), entries, task=task)
    if plan and not yes:
        typer.confirm(f"{task}: {plan}?", abort=True, err=True)
    if plan:
        stderr.print(f"{task}: {plan}; waiting for the new revision to become ready")
    run_id, actor = f"cli-{uuid4().hex[:12]}", user_name()
    after = roll_back(ports, task=task, reason=reason, run_id=run_id, actor=actor, ready_s_max=policy.ready_s_max)
    for text in after.told:
        stderr.print(f"{task}: {text}", markup=False)
    if as_json:
        champion = after.champion.model_dump(mode="json")
        print_json({"task": task, "champion": champion, "reason": reason, "told": after.told})
    else:
        stderr.print(f"{task}: version {after.champion.version} serves")


@rollout.command()
def start(
    task: TaskOption,
    version: Annotated[str, typer.Option("--version", help="Version in the registry, or a model's digest.")],
    wait: Annotated[bool, typer.Option("--wait", help=WAIT_HELP)] = False,
    timeout_s: Annotated[
        float,
        typer.Option(min=1, max=TIMEOUT_S_MAX, callback=check_finite, help="Seconds to wait for the end of the run."),
    ] = 3600.0,
    as_json: JsonFlag = False,
) -> None:
    """Start a run that rolls out a registered model, through the same canary as a new model.

    The command refuses the champion, a model that was rolled back (run `ratchet models allow` first), a model with
    missing or changed files, and any model while another run of the task is in flight. The first model needs no canary.

    Example: ratchet rollout start --task digits --version 3 --wait
    """
    from cli.runs.retrain import show_started
    from ratchet import wiring
    from ratchet.actions.rollout.start import choose_model, start_rollout

    claimed = start_rollout(
        choose_model(wiring.rollout_choice(), task=task, name=version),
        task=task,
        journal=wiring.run_journal(),
        pipelines=wiring.pipelines(),
        catalog=wiring.pipeline_catalog(),
        policy_digest=wiring.policy_digest(task),
        clock=wiring.clock(),
    )
    trigger = claimed.claim.trigger
    started = {
        "name": claimed.claim.run_name,
        "run_id": claimed.run_id,
        "run_key": trigger.run_key,
        "reason": trigger.reason,
        "model_digest": trigger.parameters["version"],
        "state": "PENDING",
    }
    show_started(started, wait=wait, timeout_s=timeout_s, as_json=as_json)


@rollout.command("status")
def show_status(
    task: TaskOption,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Repeat until the rollout is over.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the traffic of each revision, the state of the rollout, its evidence and what it waits for.

    Examples: ratchet rollout status --task digits · ratchet rollout status --task digits --watch
    """
    from cli.rollout_status import StatusReader, render_status
    from ratchet import wiring

    reader = StatusReader(wiring.rollout_ports(), task=task)
    status = reader.fetch()
    if as_json:
        print_json({name: value for name, value in status.items() if name != "history"})
    elif watch:
        _watch(reader, status)
    else:
        stdout.print(render_status(status))


@rollout.command()
def pause(task: TaskOption, reason: ReasonOption = "", as_json: JsonFlag = False) -> None:
    """Give the canary no more traffic until `resume`. A paused canary is still withdrawn when it is worse.

    Example: ratchet rollout pause --task digits --reason "the on-call looks at the answers first"
    """
    _order(task, "pause", reason=reason, as_json=as_json)


@rollout.command()
def resume(task: TaskOption, reason: ReasonOption = "", as_json: JsonFlag = False) -> None:
    """Continue after a pause.

    Example: ratchet rollout resume --task digits
    """
    _order(task, "resume", reason=reason, as_json=as_json)


@rollout.command()
def approve(
    task: TaskOption,
    up_to_pct: Annotated[
        int | None, typer.Option("--up-to", min=1, max=100, help="Weight in per cent; default: the next step.")
    ] = None,
    reason: ReasonOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Approve the next step's weight, where the policy or the judge requires approval.

    Example: ratchet rollout approve --task digits --reason "the 7s are better, I looked"
    """
    _order(task, "approve", reason=reason, as_json=as_json, up_to_pct=up_to_pct)


@rollout.command()
def abort(
    task: TaskOption,
    reason: ReasonOption = "started on the command line",
    within_s: Annotated[
        float, typer.Option(min=0, max=TIMEOUT_S_MAX, callback=check_finite, help="Seconds to wait for the controller.")
    ] = _ABORT_WITHIN_S,
    as_json: JsonFlag = False,
) -> None:
    """Take all traffic from the canary and end its rollout. The model is not refused and may be tried again.

    Example: ratchet rollout abort --task digits --reason "not during the sale"
    """
    from ratchet import wiring
    from ratchet.actions.rollout.steering import abort_rollout

    ports = wiring.rollout_ports()
    policy = wiring.policy(task, "rollout", RolloutPolicy)
    how = abort_rollout(
        ports, task=task, reason=reason, by=user_name(), within_s=within_s, ready_s_max=policy.ready_s_max
    )
    if as_json:
        print_json({"task": task, "order": "abort", "reason": reason, "told": how})
    else:
        stderr.print(f"{task}: {how}", markup=False)


def _order(task: str, kind: Any, *, reason: str, as_json: bool, up_to_pct: int | None = None) -> None:
    from ratchet import wiring
    from ratchet.actions.rollout.steering import give_order

    order = give_order(wiring.rollout_ports(), task=task, kind=kind, reason=reason, by=user_name(), up_to_pct=up_to_pct)
    if as_json:
        print_json({"task": task, **order.model_dump(mode="json")})
        return
    what = f"approved up to {order.approved_pct} %" if order.kind == "approve" else order.kind
    stderr.print(f"{task}: {what}; `ratchet rollout status --task {task}` shows what follows", markup=False)


def _watch(reader: Any, status: dict[str, Any]) -> None:
    from rich.live import Live

    from cli.rollout_status import render_status

    with Live(render_status(status), console=stdout, auto_refresh=False) as live:
        while status["rollout"] is not None and not status["rollout"]["is_over"]:
            time.sleep(_REFRESH_S)
            status = reader.fetch()
            live.update(render_status(status), refresh=True)


def _plan_of(ports: "RolloutPorts", open_uri: str, entries: Sequence[LedgerEntry], *, task: str) -> str:
    """What a rollback would do, "" when there is no champion. NotFound when it has nowhere to go."""
    from ratchet.actions.rollout.rollback import find_fallback

    champion = champion_of(entries)
    if champion is None:
        return ""
    if open_uri:
        return f"close the rollout of {open_uri}, keep version {champion.version}"
    fallback = find_fallback(ports.files, entries, task=task)
    passed_over = f" ({'; '.join(fallback.passed_over)})" if fallback.passed_over else ""
    return f"replace version {champion.version} by version {fallback.model.version}{passed_over}"
