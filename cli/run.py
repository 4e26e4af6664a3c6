"""`ratchet run retrain`, and `ratchet runs …`: start a run, and look at runs."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import run_pipeline
from cli.names import OnlyTaskOption, TaskOption, complete_run, known_text
from cli.output import WAIT_HELP, JsonFlag, print_json, print_rows, stderr, stdout
from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, Unavailable
from ratchet.core.ports import Pipelines, RunState
from ratchet.core.runs import Skip, TriggerPolicy, plan_request

if TYPE_CHECKING:
    from ratchet.actions.runs.retraining import RetrainPorts, Situation
    from ratchet.core.runs.outcome import Outcome

run_group = typer.Typer(help="Start a pipeline by hand.", no_args_is_help=True)
runs = typer.Typer(help="Show pipeline runs.", no_args_is_help=True)

RunArgument = Annotated[
    str, typer.Argument(help="Display name, run id, its first characters, or latest.", autocompletion=complete_run)
]
TimeoutOption = Annotated[float, typer.Option(min=1, help="Seconds to wait for the end of the run.")]
_GOOD = ("SUCCEEDED", "SKIPPED")
_ARTIFACT_COLUMNS = ("task_id", "output", "type", "uri")
_LONGEST_SEARCH = 1000
_SHORTEST_PREFIX = 4
_SETTLE_POLL_S = 1.0
_SETTLE_MARGIN_S = 10.0
_RETRY_POLL_S = 0.1
_COLUMNS = ("name", "state", "outcome", "created_at", "duration_s", "why", "run_id")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    run_pipeline.add_to(run_group)
    app.add_typer(run_group, name="run")
    app.add_typer(runs, name="runs")


@run_group.callback()
def run_() -> None:
    """Start a pipeline by hand."""


@run_group.command()
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
    from cli.run_turns import name_in_flight, start_in_turn
    from cli.tasks import require_sound
    from ratchet import wiring

    in_flight = name_in_flight(task) if wait else ""
    if check:
        require_sound(wiring.task_checks().check([wiring.task_spec(task)]))
    if allow_rolled_back:
        _allow_rolled_back(task)
    if wait:
        started = start_in_turn(
            lambda: _start(task, again=again, fresh=fresh), task=task, in_flight=in_flight, timeout_s=timeout_s
        )
    else:
        started = _start(task, again=again, fresh=fresh)
    show_started(started, wait=wait, timeout_s=timeout_s, as_json=as_json)


def show_started(started: dict[str, Any], *, wait: bool, timeout_s: float, as_json: bool) -> None:
    """Print a run that was started; with `wait` follow it to its end and exit by its outcome."""
    from cli.run_outcome import outcome_row
    from cli.run_view import watch
    from ratchet import wiring

    if wait and started["run_id"] is None:
        raise Unavailable(f"{started['name']} is claimed but not submitted yet: the sensor submits it within a minute.")
    exit_code, outcome = 0, None
    if wait:
        ended = wiring.pipelines().fetch_run(str(started["run_id"]))
        if not ended.is_finished:  # else it was followed already
            ended = watch(wiring.pipelines(), ended.run_id, timeout_s=timeout_s)
        outcome, exit_code = _outcome_of(ended)
        started = {**started, "state": ended.state, "error": ended.error, "outcome": outcome_row(outcome)}
    if as_json:
        print_json(started)
    else:
        stdout.print(f"{started['name']}  {started['state']}  {started['run_id']}", markup=False)
        _print_outcome(outcome)
    if exit_code:
        raise typer.Exit(exit_code)


def _outcome_of(ended: RunState) -> "tuple[Outcome | None, int]":
    from cli.run_outcome import exit_code_of, fetch_outcomes
    from ratchet import wiring

    outcome = fetch_outcomes(wiring.run_outcomes(), [ended]).get(ended.run_id)
    return outcome, exit_code_of(ended, outcome)


def _print_outcome(outcome: "Outcome | None") -> None:
    from cli.run_outcome import outcome_text

    if outcome is not None:
        stdout.print(outcome_text(outcome))


def _start(task: str, *, again: bool, fresh: bool = False) -> dict[str, Any]:
    from ratchet import wiring
    from ratchet.actions.runs.retraining import start_run
    from ratchet.stores.finished import forget_finished

    digest = wiring.policy_digest(task)
    policy = wiring.policy(task, "trigger", TriggerPolicy)
    ports = wiring.retrain_ports()
    situation = _ask_settled(ports, task)
    decision = plan_request(
        situation.backlog,
        task=task,
        policy_digest=digest,
        last=situation.last,
        in_flight=situation.in_flight,
        again=again,
        policy=policy,
        now=ports.clock.now(),
        starts=situation.starts,
    )
    if isinstance(decision, Skip):
        raise _refusal(decision, is_empty=situation.backlog.num_labels == 0 and not situation.is_busy)
    if fresh:
        forget_finished(ports.objects, task, bucket=ports.verdicts_bucket)
    run = start_run(ports, decision, situation)
    return {
        "name": run.claim.run_name,
        "run_id": run.run_id,
        "run_key": decision.run_key,
        "attempt": decision.attempt,
        "reason": decision.reason,
        "state": "PENDING",
    }


def _ask_settled(ports: "RetrainPorts", task: str) -> "Situation":
    """The situation once no claim hangs: whoever left one without a run is given his time, then it is submitted here.

    So it takes no sensor to get over a process that died between its claim and its run.
    """
    from ratchet.actions.runs.retraining import ask_situation

    situation = ask_situation(ports, task=task)
    deadline_s = ports.clock.elapsed_s() + ports.journal.lease_s + _SETTLE_MARGIN_S
    is_told = False
    while situation.newest_claim and situation.newest_claim.is_unsubmitted and ports.clock.elapsed_s() < deadline_s:
        if not is_told:
            name, wait_s = situation.newest_claim.claim.run_name, ports.journal.lease_s
            stderr.print(f"{name} is claimed and has no run yet; waiting for its owner, {wait_s:.0f} s", markup=False)
            is_told = True
        ports.clock.sleep(_SETTLE_POLL_S)
        situation = ask_situation(ports, task=task)
    return situation


def _allow_rolled_back(task: str) -> None:
    """The same labels train the same model, so a run after a rollback comes to a model that is refused."""
    from ratchet import wiring
    from ratchet.actions.models.promotions import allow_newest_refused

    allowed = allow_newest_refused(
        wiring.ledger(), task=task, reason="`ratchet run retrain --allow-rolled-back`", now=datetime.now(UTC)
    )
    told = f"version {allowed.version} may be rolled out again" if allowed else "no model is refused"
    stderr.print(f"{task}: {told}", markup=False)


def _refusal(skip: Skip, *, is_empty: bool) -> RatchetError:
    return (
        NotFound(f"No run was started: {skip.reason}") if is_empty else Conflict(f"No run was started: {skip.reason}")
    )


@runs.command("list")
def list_(
    task: OnlyTaskOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show runs with their outcomes, newest first.

    Outcomes: promoted, refused labels, refused model, rolled back, withdrawn, no traffic, superseded, canceled, failed.

    Example: ratchet runs list --task digits
    """
    from cli.run_outcome import fetch_outcomes, outcome_row, words_of
    from cli.run_view import duration_s_of, short_error
    from ratchet import wiring

    now = datetime.now(UTC)
    found = wiring.pipelines().list_runs(experiment=task, limit=limit)
    outcomes = fetch_outcomes(wiring.run_outcomes(), found)
    rows = []
    for run in found:
        outcome = outcomes.get(run.run_id)
        told = outcome_row(outcome) if as_json else words_of(run, outcome)
        why = outcome.summary if outcome and outcome.name != "promoted" else run.error
        row = {**run.model_dump(mode="json"), "duration_s": duration_s_of(run, now=now), "outcome": told}
        rows.append(row if as_json else {**row, "why": short_error(why)})
    print_rows(rows, columns=_COLUMNS, as_json=as_json, empty="No runs yet.")


@runs.command()
def show(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Show a run with its tasks, the full errors of failed tasks, and its outcome.

    Example: ratchet runs show retrain-digits-1f2e3d4c5b6a
    """
    from cli.run_outcome import errors_text, fetch_origins, outcome_row
    from cli.run_view import row_of, tree_of, tree_order
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    tasks = tree_order(pipelines.fetch_tasks(found.run_id))
    now = datetime.now(UTC)
    outcome, _ = _outcome_of(found)
    origins = fetch_origins(wiring.run_outcomes(), found)
    if as_json:
        rows = [row_of(task, tasks, now=now) for task in tasks]
        told = {"outcome": outcome_row(outcome), "origins": [origin.model_dump() for origin in origins]}
        print_json({**found.model_dump(mode="json"), **told, "tasks": rows})
        return
    stdout.print(tree_of(found, tasks, now=now))
    for origin in origins:
        stdout.print(f"{origin.step}: {origin.text}", markup=False)
    if errors := errors_text(found, tasks):
        stdout.print(errors)
    _print_outcome(outcome)


@runs.command()
def logs(
    run: RunArgument,
    task: Annotated[str | None, typer.Argument(help="Only this task; default: all tasks with a log.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until the run has ended.")] = False,
    timeout_s: TimeoutOption = 3600.0,
    as_json: JsonFlag = False,
) -> None:
    """Print the logs of a run's tasks.

    Examples: ratchet runs logs retrain-digits-1f2e3d4c5b6a finetune · ratchet runs logs -f 3f0c
    """
    from cli.run_logs import follow_logs, logs_of
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    if follow:
        if as_json:
            raise DataRejected("--json prints one document, and --follow has no end. Use one of them.")
        follow_logs(pipelines, found.run_id, task=task, timeout_s=timeout_s)
        return
    texts = logs_of(pipelines, found, task=task)
    if as_json:
        print_json([{"task_id": each.task_id, "name": each.name, "log": text} for each, text in texts])
        return
    for each, text in texts:
        typer.echo(text if task else f"=== {each.name}\n{text.rstrip()}\n")


@runs.command()
def artifacts(
    run: RunArgument,
    task: Annotated[str | None, typer.Argument(help="Only artifacts of this task.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the artifacts of a run; --json adds their addresses.

    Example: ratchet runs artifacts retrain-digits-1f2e3d4c5b6a finetune
    """
    from cli.run_logs import chosen_tasks
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    wanted = None if task is None else {each.task_id for each in chosen_tasks(pipelines, found, task)}
    rows = [
        each.model_dump() for each in pipelines.list_artifacts(found.run_id) if wanted is None or each.task_id in wanted
    ]
    print_rows(rows, columns=_ARTIFACT_COLUMNS, as_json=as_json, empty="No artifacts.")


@runs.command()
def report(
    run: RunArgument,
    task: Annotated[str | None, typer.Argument(help="Only pages of this task.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the copies; default: one in the state folder.")
    ] = None,
    is_opened: Annotated[bool, typer.Option("--open", help="Open the pages in the browser.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the pages and pictures of a run to a folder. Each is complete: no other file, no network.

    Examples: ratchet runs report latest --open · ratchet runs report 3f0c drift-check --out pages
    """
    from cli import run_report
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    run_report.report(pipelines, found, task=task, out=out, is_opened=is_opened, as_json=as_json)


@runs.command("watch")
def watch_(run: RunArgument, timeout_s: TimeoutOption = 3600.0, as_json: JsonFlag = False) -> None:
    """Follow a run to its end, as a live tree on a terminal. Exit 1: it failed; 9: it succeeded and promoted nothing.

    Example: ratchet runs watch retrain-digits-1f2e3d4c5b6a
    """
    from cli.run_outcome import outcome_row
    from cli.run_view import watch
    from ratchet import wiring

    pipelines = wiring.pipelines()
    ended = watch(pipelines, find_run(pipelines, run).run_id, timeout_s=timeout_s)
    outcome, exit_code = _outcome_of(ended)
    if as_json:
        print_json({**ended.model_dump(mode="json"), "outcome": outcome_row(outcome)})
    else:
        _print_outcome(outcome)
    if exit_code:
        raise typer.Exit(exit_code)


@runs.command()
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


@runs.command()
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
    from cli.run_view import watch
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    if not found.is_finished or found.state in _GOOD:
        raise Conflict(f"Run {found.name} is {found.state}; only a run that failed or was terminated can be retried.")
    task = _check_newest(found)
    pipelines.retry(found.run_id)
    if task is not None:
        _reclaim(pipelines, found, task=task)
    ended = watch(pipelines, found.run_id, timeout_s=timeout_s) if wait else None
    _told("retrying", pipelines, found, as_json=as_json)
    if ended is None:
        return
    outcome, exit_code = _outcome_of(ended)
    if not as_json:
        _print_outcome(outcome)
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
    from ratchet.adapters.clock import SystemClock

    clock = SystemClock()
    deadline_s = clock.elapsed_s() + _SETTLE_MARGIN_S
    while pipelines.fetch_run(run.run_id).is_finished and clock.elapsed_s() < deadline_s:
        clock.sleep(_RETRY_POLL_S)
    try:
        reclaim(wiring.run_journal(), task=task, run_id=run.run_id, clock=clock)
    except Conflict:
        if not is_run_of_newest_claim(wiring.run_journal(), task=task, run_id=run.run_id):
            raise


def find_run(pipelines: Pipelines, run: str) -> RunState:
    """By display name, the newest of it, else by run id, else by the beginning of one id alone; "latest" is the newest
    of all."""
    if found := pipelines.find_runs(run):
        return found[-1]
    if run == "latest" and (newest := pipelines.list_runs(limit=1)):
        return newest[0]
    try:
        return pipelines.fetch_run(run)
    except NotFound:
        newest = pipelines.list_runs(limit=_LONGEST_SEARCH)
        is_prefix = len(run) >= _SHORTEST_PREFIX
        matching = [each for each in newest if is_prefix and each.run_id.startswith(run)]
        if not matching:
            known = known_text(list(dict.fromkeys(each.name for each in newest)))
            raise NotFound(f"There is no run {run!r}; {known}. `ratchet runs list` shows them.") from None
    if len(matching) > 1:
        names = ", ".join(f"{each.run_id} ({each.name})" for each in matching[:5])
        raise DataRejected(f"{len(matching)} runs have ids that begin with {run!r}: {names}. Give more characters.")
    return matching[0]


def _told(deed: str, pipelines: Pipelines, run: RunState, *, as_json: bool) -> None:
    if as_json:
        print_json(pipelines.fetch_run(run.run_id).model_dump(mode="json"))
    else:
        stderr.print(f"{deed} {run.name} ({run.run_id})", markup=False)
