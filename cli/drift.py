"""`ratchet drift show`: what the last looks for drift found, column by column."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.names import check_task, complete_task
from cli.output import JsonFlag, print_json, stderr, stdout, table_of
from cli.words import bar, moment_words

if TYPE_CHECKING:
    from ratchet.core.labels.drift.decide import ColumnDrift
    from ratchet.core.labels.drift.record import DriftRecord

TaskArgument = Annotated[
    str,
    typer.Argument(help="Name of the task.", show_default=False, callback=check_task, autocompletion=complete_task),
]
_TITLES = {"drift_check": "New labels", "drift_monitor": "Production"}
_COLUMNS = ("column", "state", "shift", "limit", "p", "evidence", "would_show_from", "known", "new", "detail")
_PICTURES_MAX = 5
_BAR_WIDTH = 16


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    drift = typer.Typer(help="Drift: new labels and production, compared with what the champion learned from.")
    drift.command("show")(show)
    drift.callback()(_group)
    app.add_typer(drift, name="drift")


def _group() -> None:
    """A group of one command stays a group."""


def show(
    task: TaskArgument,
    with_pictures: Annotated[bool, typer.Option("--pictures", help="Draw every column, not only what drifts.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the last verdicts about drift: each column with its shift, its evidence and what to do.

    Example: ratchet drift show digits
    """
    from ratchet import wiring
    from ratchet.core.labels.drift.record import DRIFT_KINDS

    store = wiring.drift_records()
    records = [record for kind in DRIFT_KINDS if (record := store.fetch(task, kind)) is not None]
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
        return
    if not records:
        stderr.print(
            f"No run has looked for drift of {task} yet. `ratchet run drift-monitor --task {task} --wait` does now.",
            markup=False,
        )
    for record in records:
        _print_record(record, with_pictures=with_pictures)


def _print_record(record: "DriftRecord", *, with_pictures: bool) -> None:
    from ratchet.core.labels.drift.decide import ranked

    looks = f", look {record.evidence.num_looks}" if record.evidence else ""
    stdout.print(
        f"{_TITLES[record.kind]}: {record.verdict}  ({moment_words(record.at)}{looks})\n"
        f"  {record.compared}: {record.num_new} new, {record.num_old} known\n  {record.advice}",
        markup=False,
    )
    if record.estimate:
        stdout.print(f"  {record.estimate}", markup=False)
    if record.columns:
        stdout.print(table_of([_row_of(column) for column in ranked(record.columns)], columns=_COLUMNS))
    else:
        for reason in record.reasons:
            stdout.print(f"  {'✓' if reason.passed else '✗'} {reason.text}", markup=False)
    shown = [column for column in ranked(record.columns) if with_pictures or column.state == "drifted"]
    for column in shown if with_pictures else shown[:_PICTURES_MAX]:
        _print_picture(column)
    stdout.print()


def _row_of(column: "ColumnDrift") -> dict[str, str]:
    return {
        "column": column.name,
        "state": column.state.replace("_", " "),
        "shift": f"{column.effect:.3f}",
        "limit": f"{column.limit:.3f}",
        "p": f"{column.p_value:.1e}",
        "evidence": f"{column.e_value:.3g}",
        "would_show_from": f"{column.detectable:.3f}",
        "known": str(column.num_old),
        "new": str(column.num_new),
        "detail": column.detail,
    }


def _print_picture(column: "ColumnDrift") -> None:
    """Two bars for each bin or name: known, new."""
    if not column.names:
        return
    stdout.print(f"\n{column.name}: share of rows, known and new", markup=False)
    width = max(map(len, column.names))
    top = max(*column.old, *column.new, 1e-12)
    for name, old, new in zip(column.names, column.old, column.new, strict=True):
        bars = "  ".join(f"{bar(share / top, width=_BAR_WIDTH)} {share:6.1%}" for share in (old, new))
        stdout.print(f"  {name:>{width}}  {bars}", markup=False)
