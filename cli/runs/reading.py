"""`ratchet runs list | show | logs | artifacts | report | watch`: look at runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.limits import LIMIT_MAX
from cli.names import OnlyTaskOption
from cli.output import JsonFlag, print_json, print_rows, stdout
from cli.runs.find import RunArgument, TimeoutOption, find_run
from ratchet.core.errors import DataRejected

_COLUMNS = ("name", "state", "outcome", "created_at", "duration_s", "why", "run_id")
_ARTIFACT_COLUMNS = ("task_id", "output", "type", "uri")


def add_to(group: typer.Typer) -> None:
    """Add the commands of this module to `ratchet runs`."""
    group.command("list")(list_)
    for command in (show, logs, artifacts, report):
        group.command()(command)
    group.command("watch")(watch_)


def list_(
    task: OnlyTaskOption = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="How many, newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show runs with their outcomes, newest first.

    Outcomes: promoted, refused labels, refused model, rolled back, withdrawn, no traffic, superseded, canceled, failed.

    Example: ratchet runs list --task digits
    """
    from cli.runs.outcome import fetch_outcomes, outcome_row, words_of
    from cli.runs.view import duration_s_of, short_error
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


def show(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Show a run with its tasks, how far its training is, the full errors of failed tasks, and its outcome.

    Example: ratchet runs show retrain-digits-1f2e3d4c5b6a
    """
    from cli.runs.outcome import errors_text, fetch_origins, outcome_of, outcome_row, print_outcome
    from cli.runs.training import fetch_training
    from cli.runs.view import row_of, tree_of, tree_order
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    tasks = tree_order(pipelines.fetch_tasks(found.run_id))
    now = datetime.now(UTC)
    outcome, _ = outcome_of(found)
    origins = fetch_origins(wiring.run_outcomes(), found)
    training = fetch_training(found.run_id, tasks)
    if as_json:
        rows = [row_of(task, tasks, now=now) for task in tasks]
        told = {"outcome": outcome_row(outcome), "origins": [origin.model_dump() for origin in origins]}
        told["training"] = None if training is None else training.model_dump(mode="json")
        print_json({**found.model_dump(mode="json"), **told, "tasks": rows})
        return
    stdout.print(tree_of(found, tasks, now=now, training=training))
    for origin in origins:
        stdout.print(f"{origin.step}: {origin.text}", markup=False)
    if errors := errors_text(found, tasks):
        stdout.print(errors)
    print_outcome(outcome)


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
    from cli.runs.logs import follow_logs, logs_of
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


def artifacts(
    run: RunArgument,
    task: Annotated[str | None, typer.Argument(help="Only artifacts of this task.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the artifacts of a run; --json adds their addresses.

    Example: ratchet runs artifacts retrain-digits-1f2e3d4c5b6a finetune
    """
    from cli.runs.logs import chosen_tasks
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    wanted = None if task is None else {each.task_id for each in chosen_tasks(pipelines, found, task)}
    rows = [
        each.model_dump() for each in pipelines.list_artifacts(found.run_id) if wanted is None or each.task_id in wanted
    ]
    print_rows(rows, columns=_ARTIFACT_COLUMNS, as_json=as_json, empty="No artifacts.")


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
    from cli.runs import pages
    from ratchet import wiring

    pipelines = wiring.pipelines()
    found = find_run(pipelines, run)
    pages.write_pages(pipelines, found, task=task, out=out, is_opened=is_opened, as_json=as_json)


def watch_(run: RunArgument, timeout_s: TimeoutOption = 3600.0, as_json: JsonFlag = False) -> None:
    """Follow a run to its end, as a live tree on a terminal. A training shows its epoch, step, loss and time left.

    Exit 1: it failed; 9: it succeeded and promoted nothing.

    Example: ratchet runs watch retrain-digits-1f2e3d4c5b6a
    """
    from cli.runs.outcome import outcome_of, outcome_row, print_outcome
    from cli.runs.view import watch
    from ratchet import wiring

    pipelines = wiring.pipelines()
    ended = watch(pipelines, find_run(pipelines, run).run_id, timeout_s=timeout_s)
    outcome, exit_code = outcome_of(ended)
    if as_json:
        print_json({**ended.model_dump(mode="json"), "outcome": outcome_row(outcome)})
    else:
        print_outcome(outcome)
    if exit_code:
        raise typer.Exit(exit_code)
