"""`ratchet pipelines …`: compile, publish, list, schedule."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.names import TaskOption, complete_pipeline, complete_schedule, known_text
from cli.output import JsonFlag, print_json, print_rows, stderr, stdout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ratchet.core.ports import Schedule

APPLY_WITHIN_S = 60.0
"""A change waits for at most one slot, and no longer than 12 s."""

pipelines = typer.Typer(help="Compile, publish and schedule the pipelines.", no_args_is_help=True)
schedules = typer.Typer(help="Scheduled runs.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    pipelines.add_typer(schedules, name="schedule")
    app.add_typer(pipelines, name="pipelines")


@pipelines.command("compile")
def compile_(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a file is stale.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compile the pipelines to pipelines/compiled/*.yaml, which are committed.

    Example: ratchet pipelines compile --check
    """
    from pipelines.compile import compile_all

    compiled = compile_all(write=not check)
    stale = [each for each in compiled if not each.is_current] if check else []
    states = ["current" if each.is_current else "stale" if check else "written" for each in compiled]
    if as_json:
        print_json([{"path": str(each.path), "state": state} for each, state in zip(compiled, states, strict=True)])
    else:
        for each, state in zip(compiled, states, strict=True):
            stdout.print(f"{state}  {each.path}", markup=False)
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
    """Upload the compiled pipelines that differ from the newest version in KFP.

    The schedules of configs/schedules.yaml then run the new versions.

    Example: ratchet pipelines publish
    """
    from pipelines.publish import COMPILED_DIR, publish_all
    from ratchet import wiring

    published = publish_all(wiring.pipeline_catalog(), compiled_dir or COMPILED_DIR)
    follow_schedules()
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
        empty="No pipeline is published. Run `ratchet pipelines publish`.",
    )


@schedules.command("add")
def schedule_add(
    pipeline: Annotated[str, typer.Argument(help="Name of a published pipeline.", autocompletion=complete_pipeline)],
    task: TaskOption,
    cron: Annotated[
        str,
        typer.Option(help="Six fields, seconds first: 'TZ=Europe/Berlin 0 0 3 * * *' is each day at 03:00 in Berlin."),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the schedule.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Add a schedule by hand. Keep schedules that change in configs/schedules.yaml instead.

    Missed slots are not repeated.

    Example: ratchet pipelines schedule add retrain --task digits --cron '0 0 3 * * *'
    """
    from ratchet import wiring
    from ratchet.core.runs.cron import check_cron

    made = wiring.pipeline_catalog().create_schedule(
        pipeline, name=name or f"{pipeline}-{task}", cron=check_cron(cron), parameters={"task": task}
    )
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        stdout.print(f"{made.name} runs at {made.cron} ({made.schedule_id})", markup=False)


@schedules.command("list")
def schedule_list(as_json: JsonFlag = False) -> None:
    """Show the schedules, when each is due next, and whether configs/schedules.yaml manages it.

    Example: ratchet pipelines schedule list
    """
    from ratchet import wiring

    now = datetime.now(UTC)
    rows = [row_of(schedule, now=now) for schedule in wiring.pipeline_catalog().list_schedules()]
    columns = ("schedule_id", "name", "cron", "is_enabled", "is_managed", "next_at")
    print_rows(rows, columns=columns, as_json=as_json, empty="No schedules.")


def row_of(schedule: "Schedule", *, now: datetime) -> dict[str, Any]:
    """A schedule as people see it; `next_at` is None when it is disabled, or its slots cannot be told."""
    from ratchet.core.errors import DataRejected
    from ratchet.core.runs.cron import next_slot
    from ratchet.core.runs.schedules import digest_in

    next_at = None
    if schedule.is_enabled and schedule.cron:
        with suppress(DataRejected):
            next_at = next_slot(schedule.cron, now, began_at=schedule.created_at)
    shown = schedule.model_dump(mode="json")
    return {
        **shown,
        "is_managed": digest_in(schedule) is not None,
        "next_at": next_at.isoformat() if next_at else None,
    }


@schedules.command("apply")
def schedule_apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; change nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Apply configs/schedules.yaml. Schedules made by hand stay unchanged.

    A change near a slot waits until after it, so that no slot is lost or runs twice.

    Example: ratchet pipelines schedule apply --dry-run
    """
    from ratchet import wiring
    from ratchet.actions.runs.schedules import plan_from, reconcile_schedules
    from ratchet.core.errors import DataRejected, PolicyError, Unavailable

    wanted = wiring.wanted_schedules()
    if wanted is None:
        raise PolicyError(
            f"{wiring.schedules_path()} does not exist. Add it; an empty list of schedules removes them all."
        )
    catalog = wiring.pipeline_catalog()
    if dry_run:
        _show_changes([(change.kind, change.text) for change in plan_from(catalog, wanted, now=_now())], as_json)
        return
    deadline_s = time.monotonic() + APPLY_WITHIN_S
    shown: list[tuple[str, str]] = []
    while True:
        reconciled = reconcile_schedules(catalog, wanted)
        shown += [(each.change.kind, each.text) for each in reconciled.applied if each.change.kind != "keep"]
        if reconciled.errors or reconciled.retry_at is None:
            break
        wait_s = max((reconciled.retry_at - _now()).total_seconds(), 0.2)
        if time.monotonic() + wait_s > deadline_s:
            raise Unavailable(f"Not applied after {APPLY_WITHIN_S:g} s: {shown[-1][1]}. Run the command again.")
        time.sleep(wait_s)
    _show_changes(shown, as_json)
    if reconciled.errors:
        raise DataRejected(f"{'; '.join(reconciled.errors)} Correct {wiring.schedules_path()}.")


def _show_changes(changes: list[tuple[str, str]], as_json: bool) -> None:
    rows = [{"change": kind, "what": text} for kind, text in changes]
    print_rows(rows, columns=("change", "what"), as_json=as_json, empty="Nothing to change.")


def follow_schedules() -> None:
    """After publishing: bring the managed schedules to what was published. What fails is told and is no failure."""
    from ratchet import wiring
    from ratchet.actions.runs.schedules import reconcile_schedules
    from ratchet.core.errors import RatchetError

    try:
        wanted = wiring.wanted_schedules()
        if wanted is None:
            return
        reconciled = reconcile_schedules(wiring.pipeline_catalog(), wanted)
    except RatchetError as error:
        stderr.print(f"schedules: {error}", markup=False)
        return
    for applied in reconciled.applied:
        if applied.change.kind != "keep":
            stderr.print(f"schedule {applied.text}", markup=False)


def _now() -> datetime:
    return datetime.now(UTC)


@schedules.command("delete")
def schedule_delete(
    schedule: Annotated[
        str,
        typer.Argument(
            help="Name or id, as `ratchet pipelines schedule list` shows them.", autocompletion=complete_schedule
        ),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Delete a schedule; its runs in flight continue.

    A schedule of configs/schedules.yaml comes back unless you remove it from that file.

    Examples: ratchet pipelines schedule delete digits-drift · ratchet pipelines schedule delete 1f0c7c1e-…
    """
    from ratchet import wiring
    from ratchet.core.runs.schedules import digest_in

    catalog = wiring.pipeline_catalog()
    found = find_schedule(catalog.list_schedules(), schedule)
    catalog.delete_schedule(found.schedule_id)
    if as_json:
        print_json({"deleted": found.model_dump(mode="json")})
        return
    stderr.print(f"deleted {found.name} ({found.schedule_id})", markup=False)
    if digest_in(found) is not None:
        stderr.print("configs/schedules.yaml manages it: remove it there too, or it comes back", markup=False)


def find_schedule(schedules: "Sequence[Schedule]", wanted: str) -> "Schedule":
    """By id, else by a name that only one has. NotFound and DataRejected name what there is."""
    from ratchet.core.errors import DataRejected, NotFound

    if by_id := [each for each in schedules if each.schedule_id == wanted]:
        return by_id[0]
    named = [each for each in schedules if each.name == wanted]
    if not named:
        known = known_text([each.name for each in schedules])
        raise NotFound(f"There is no schedule {wanted!r}; {known}. `ratchet pipelines schedule list` shows them.")
    if len(named) > 1:
        ids = ", ".join(each.schedule_id for each in named)
        raise DataRejected(f"{len(named)} schedules are named {wanted!r}: {ids}. Give the id of one.")
    return named[0]
