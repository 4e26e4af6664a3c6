"""`ratchet sensor …`: what the label sensor saw and decided."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cli.limits import TIMEOUT_S_MAX, check_finite
from cli.names import OnlyTaskOption, TaskOption
from cli.output import JsonFlag, print_json, print_rows, stderr, stdout
from cli.sensor_view import TICK_COLUMNS, status_text, tick_row
from ratchet.core.errors import RatchetError, SettingsError, Unavailable

if TYPE_CHECKING:
    from sensors.label_sensor.tick import TickReport
    from sensors.label_sensor.tick_archive import TickArchive

sensor = typer.Typer(help="The label sensor: what it sees, and why it starts a run or not.", no_args_is_help=True)

_FOLLOW_EVERY_S = 1.0
_CHECK_COLUMNS = ("", "gate", "what it says", "shut until")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(sensor, name="sensor")


@sensor.command()
def status(
    task: OnlyTaskOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show each task: labels and threshold, why no run starts, the last run, what comes next.

    While the sensor is down, its log in S3 is shown. Examples:

    ratchet sensor status

    ratchet sensor status --task digits --json
    """
    live, why_not = _fetch_live()
    rows = [_with_last_run(row) for row in live or _newest_of_log() if task in (None, row["task"])]
    if as_json:
        print_json(rows)
        return
    if why_not:
        stderr.print(why_not, markup=False)
    now = datetime.now(UTC)
    for number, row in enumerate(rows):
        stdout.print(Text("\n" if number else "").append_text(status_text(row, now=now)))
    if not rows:
        stderr.print(f"The sensor has not ticked {task or 'any task'} yet.", markup=False)


@sensor.command()
def ticks(
    task: TaskOption,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the latest decisions; equal ticks in a row are one entry. S3 keeps 500 entries of 30 days.

    Examples:

    ratchet sensor ticks --task digits

    ratchet sensor ticks --task digits --follow --json | jq .reason
    """
    rows = _list_ticks(task, limit=limit)
    if follow:
        _follow(task, rows, as_json=as_json)
    elif as_json:
        print_json(rows)
    else:
        shown = [tick_row(row) for row in rows]
        print_rows(shown, columns=TICK_COLUMNS, as_json=False, empty=f"The sensor has not ticked {task} yet.")


@sensor.command()
def tick(
    task: TaskOption,
    timeout_s: Annotated[
        float, typer.Option(min=0.1, max=TIMEOUT_S_MAX, callback=check_finite, help="How long to wait for the answer.")
    ] = 30.0,
    as_json: JsonFlag = False,
) -> None:
    """Make the sensor look at a task now, and show its decision.

    Example: ratchet sensor tick --task digits
    """
    from ratchet import wiring

    seen = wiring.sensor_service().tick(task, timeout_s=timeout_s)
    if as_json:
        print_json({name: value for name, value in seen.items() if name != "history"})
    else:
        stdout.print(_sentence_of(seen), markup=False)


@sensor.command()
def explain(task: TaskOption, as_json: JsonFlag = False) -> None:
    """Show every gate between the labels of a task and a run. Starts no run.

    Example: ratchet sensor explain --task digits
    """
    from ratchet import wiring
    from ratchet.actions.runs.retraining import look_at_task
    from ratchet.core.runs import CodeState
    from ratchet.core.runs import explain as explain_gates
    from sensors.label_sensor.policies import PolicyFiles
    from sensors.label_sensor.rivals import rivals_of

    policies, ports = PolicyFiles(), wiring.retrain_ports()
    policy, look = policies.fetch(task), look_at_task(ports, task=task)
    live, why_not = _fetch_live()
    seen = {row["task"]: _report_of(row) for row in live if row["outcome"] != "error"}
    situation = look.situation(
        policy.trigger,
        task=task,
        policy_digest=policy.digest,
        others=rivals_of(task, seen, priorities={each: policies.fetch(each).trigger.priority for each in seen}),
        classes=policy.classes,
        code=CodeState(digest=wiring.code_digest(task)),
    )
    explained = explain_gates(situation, now=ports.clock.now())
    if as_json:
        print_json(explained.model_dump(mode="json"))
        return
    if why_not:
        stderr.print(f"{why_not} The other tasks' runs are unknown.", markup=False)
    rows = [_check_row(each) for each in explained.model_dump(mode="json")["checks"]]
    print_rows(rows, columns=_CHECK_COLUMNS, as_json=False)
    outcome = explained.outcome
    stdout.print(f"\n{type(outcome).__name__.lower()}: {outcome.reason}", markup=False)


def _check_row(check: Mapping[str, Any]) -> dict[str, Any]:
    sign = Text("✓", style="green") if check["passed"] else Text("✗", style="bold red")
    return dict(zip(_CHECK_COLUMNS, (sign, check["code"], check["text"], check["not_before"]), strict=True))


def _fetch_live() -> tuple[list[dict[str, Any]], str]:
    """What the running sensor knows; nothing, and why, when it does not answer."""
    from ratchet import wiring

    try:
        return [{**row, "is_live": True} for row in wiring.sensor_service().fetch_status()], ""
    except (Unavailable, SettingsError) as error:
        return [], str(error)


def _newest_of_log() -> list[dict[str, Any]]:
    from ratchet import wiring

    archive = _archive()
    newest = [row for task in wiring.task_names() for row in archive.list_newest(task, limit=1)]
    return [{**row, "is_live": False} for row in newest]


def _with_last_run(row: dict[str, Any]) -> dict[str, Any]:
    """With the newest claim of the journal, whoever made it."""
    from ratchet import wiring

    try:
        newest = wiring.run_journal().fetch_newest(row["task"])
    except RatchetError as error:
        stderr.print(f"{row['task']}: the last run is unknown ({error})", markup=False)
        newest = None
    if newest is None:
        return {**row, "last_run": None}
    run = {
        "name": newest.claim.run_name,
        "run_id": newest.run_id,
        "state": newest.end.state if newest.end else "RUNNING" if newest.run_id else "CLAIMED",
        "claimed_at": newest.claim.claimed_at.isoformat(),
        "ended_at": newest.end.at.isoformat() if newest.end else None,
        "outcome": newest.end.outcome if newest.end else "",
        "summary": newest.end.summary if newest.end else "",
        "next_step": newest.end.next_step if newest.end else "",
    }
    return {**row, "last_run": run}


def _list_ticks(task: str, *, limit: int) -> list[dict[str, Any]]:
    """The log in S3, with what the running sensor has not written yet. Either will do."""

    live, why_not = _fetch_live()
    recent = [entry for row in live if row["task"] == task for entry in row["history"]]
    try:
        stored = _archive().list_newest(task, limit=limit)
    except Unavailable:
        if why_not:
            raise
        stored = []
    # The running sensor's comes last: its entry may have grown by equal ticks since it was written.
    by_id = {row["id"]: row for row in (*stored, *recent)}
    return [by_id[each] for each in sorted(by_id, reverse=True)[:limit]]


def _follow(task: str, rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """One line an entry, when it begins."""
    shown: set[str] = set()
    while True:
        # Ids are ULIDs: in their order is in the order of time.
        for row in sorted((row for row in rows if row["id"] not in shown), key=lambda row: row["id"]):
            shown.add(row["id"])
            typer.echo(json.dumps(row) if as_json else _log_line(row))
        time.sleep(_FOLLOW_EVERY_S)
        rows = _list_recent(task)


def _list_recent(task: str) -> list[dict[str, Any]]:
    live, why_not = _fetch_live()
    recent = [entry for row in live if row["task"] == task for entry in row["history"]]
    return _archive().list_newest(task, limit=10) if why_not else recent


def _archive() -> "TickArchive":
    from ratchet import wiring

    return wiring.tick_archive()


def _report_of(row: Mapping[str, Any]) -> "TickReport":
    from sensors.label_sensor.tick import TickReport

    return TickReport.model_validate(row)


def _log_line(row: Mapping[str, Any]) -> str:
    cells = tick_row(row)
    at = datetime.fromisoformat(str(cells["from"]))
    return f"{at:%Y-%m-%d %H:%M:%S}  {cells['outcome']!s:<7}  {cells['code'] or '':<12}  {cells['reason']}"


def _sentence_of(seen: dict[str, Any]) -> str:
    run = f" ({seen['run_name']}, run {seen['run_id']})" if seen.get("run_name") else ""
    return f"{seen['task']}: {seen['outcome']}: {seen['reason']}{run}"
