"""`ratchet pipelines …`: compile, publish, list, schedule."""

from pathlib import Path
from typing import Annotated

import typer

from ratchet.commands.output import JsonFlag, TaskOption, print_json, print_rows, stderr, stdout

pipelines = typer.Typer(help="Compile and publish the pipelines, and run them by the clock.", no_args_is_help=True)
schedules = typer.Typer(help="Runs that start by the clock.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    pipelines.add_typer(schedules, name="schedule")
    app.add_typer(pipelines, name="pipelines")


@pipelines.command("compile")
def compile_(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a file is stale.")] = False,
) -> None:
    """Compile the pipelines to pipelines/compiled/*.yaml, which is committed.

    Example: ratchet pipelines compile --check
    """
    from pipelines.compile import compile_all

    compiled = compile_all(write=not check)
    stale = [each for each in compiled if not each.is_current] if check else []
    for each in compiled:
        stdout.print(f"{'current' if each.is_current else 'stale' if check else 'written'}  {each.path}", markup=False)
    for each in stale:
        stdout.print(each.diff, markup=False)
    if stale:
        stderr.print("Run `ratchet pipelines compile` and commit the files.")
        raise typer.Exit(1)


@pipelines.command()
def publish(
    compiled_dir: Annotated[Path | None, typer.Option(help="Folder of compiled pipelines.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload the compiled pipelines to KFP, where they are not the newest version already.

    Example: ratchet pipelines publish
    """
    from pipelines.publish import COMPILED_DIR, publish_all
    from ratchet import wiring

    published = publish_all(wiring.pipeline_catalog(), compiled_dir or COMPILED_DIR)
    rows = [each.model_dump() for each in published]
    print_rows(rows, columns=("pipeline", "version", "is_new"), as_json=as_json)


@pipelines.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Show the published pipelines with their newest version.

    Example: ratchet pipelines list
    """
    from ratchet import wiring

    rows = [
        {"pipeline": each.pipeline, "version": each.name, **each.model_dump(mode="json", exclude={"pipeline", "name"})}
        for each in wiring.pipeline_catalog().list_pipelines()
    ]
    print_rows(
        rows,
        columns=("pipeline", "version", "created_at", "version_id"),
        as_json=as_json,
        empty="Nothing is published. Run `ratchet pipelines publish`.",
    )


@schedules.command("add")
def schedule_add(
    pipeline: Annotated[str, typer.Argument(help="Name of a published pipeline.")],
    task: TaskOption,
    cron: Annotated[str, typer.Option(help="Six fields, seconds first: '0 0 3 * * *' is each day at 03:00 UTC.")],
    name: Annotated[str | None, typer.Option(help="Name of the schedule.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a pipeline by the clock. Missed slots are not made up for.

    Example: ratchet pipelines schedule add retrain --task digits --cron '0 0 3 * * *'
    """
    from ratchet import wiring
    from ratchet.core.cron import check_cron

    wiring.task_spec(task)
    made = wiring.pipeline_catalog().create_schedule(
        pipeline, name=name or f"{pipeline}-{task}", cron=check_cron(cron), parameters={"task": task}
    )
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        stdout.print(f"{made.name} runs at {made.cron} ({made.schedule_id})", markup=False)


@schedules.command("list")
def schedule_list(as_json: JsonFlag = False) -> None:
    """Show the schedules.

    Example: ratchet pipelines schedule list
    """
    from ratchet import wiring

    rows = [schedule.model_dump(mode="json") for schedule in wiring.pipeline_catalog().list_schedules()]
    print_rows(rows, columns=("schedule_id", "name", "cron", "is_enabled"), as_json=as_json, empty="No schedules.")


@schedules.command("delete")
def schedule_delete(
    schedule_id: Annotated[str, typer.Argument(help="As `ratchet pipelines schedule list` shows.")],
) -> None:
    """Delete a schedule; runs that it started go on.

    Example: ratchet pipelines schedule delete 1f0c…
    """
    from ratchet import wiring

    wiring.pipeline_catalog().delete_schedule(schedule_id)
    stderr.print(f"deleted {schedule_id}", markup=False)
