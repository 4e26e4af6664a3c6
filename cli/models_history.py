"""`ratchet models history`: the ledger of a task, and who was champion at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.names import check_task, complete_task
from cli.output import JsonFlag, print_json, print_rows, stderr, stdout
from ratchet.core.models.ledger import LedgerEntry, champion_of, entry_at

TaskArgument = Annotated[
    str | None,
    typer.Argument(help="Name of the task.", show_default=False, callback=check_task, autocompletion=complete_task),
]
TaskAlias = Annotated[
    str | None,
    typer.Option(
        "--task",
        "-t",
        help="The same, as an option.",
        show_default=False,
        callback=check_task,
        autocompletion=complete_task,
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option("--at", help="Show who was champion at this time, as in 2026-11-03T12:00Z.", show_default=False),
]


def task_of(argument: str | None, option: str | None) -> str:
    """The task that a command names once, in one of two ways."""
    if argument and option and argument != option:
        raise typer.BadParameter(f"two tasks are given: {argument!r} and {option!r}")
    name = argument or option
    if not name:
        raise typer.BadParameter("name a task, as in `ratchet models history digits`")
    return name


def show_history(
    task: TaskArgument = None, task_option: TaskAlias = None, at: AtOption = None, as_json: JsonFlag = False
) -> None:
    """Show the ledger, oldest entry first: each champion, when, by whom and why. --json adds digests and run ids.

    Example: ratchet models history digits --at 2026-11-03T12:00Z
    """
    from ratchet import wiring

    name, moment = task_of(task, task_option), _moment_of(at)
    entries = wiring.ledger().list_entries(name)
    if moment is not None:
        _show_at(entries, moment, task=name, as_json=as_json)
        return
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in entries])
        return
    rows = [_entry_row(entry) for entry in entries]
    columns = ("at", "what", "model", "champion", "by", "why")
    print_rows(rows, columns=columns, as_json=False, empty=f"No model of {name} has been deployed yet.")
    champion = champion_of(entries)
    if champion is not None:
        stderr.print(f"champion: version {champion.version}, trained on {champion.dataset_version}", markup=False)


def _show_at(entries: Sequence[LedgerEntry], moment: datetime, *, task: str, as_json: bool) -> None:
    entry = entry_at(entries, moment)
    champion = entry.champion if entry else None
    if as_json:
        of_champion = champion.model_dump(mode="json") if champion else None
        print_json(
            {"task": task, "at": moment.isoformat(), "champion": of_champion, "entry": entry.seq if entry else 0}
        )
        return
    when = moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
    if champion is None or entry is None:
        stdout.print(f"{task}: no champion at {when}", markup=False)
        return
    stdout.print(
        f"{task}: version {champion.version or champion.digest[:12]} was champion at {when} (ledger entry {entry.seq}: "
        f"{entry.kind.replace('_', ' ')}), trained on {champion.dataset_version}",
        markup=False,
    )


def _moment_of(text: str | None) -> datetime | None:
    """Aware; a time without a zone could mean two moments."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time. Write ISO 8601 with a zone, as in 2026-11-03T12:00Z") from None
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone. Add Z for UTC, or an offset such as +01:00")
    return moment


def _entry_row(entry: LedgerEntry) -> dict[str, str]:
    return {
        "at": entry.at.isoformat(timespec="seconds"),
        "what": entry.kind.replace("_", " "),
        "model": entry.model.version or entry.model.digest[:12],
        "champion": (entry.champion.version or entry.champion.digest[:12]) if entry.champion else "none",
        "by": entry.actor,
        "why": entry.reason,
    }
