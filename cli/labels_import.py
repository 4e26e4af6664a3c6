"""`ratchet labels import`: labels of labelling tools, from the files that these export."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cli.names import TaskOption
from cli.output import JsonFlag, print_json, stderr, stdout
from cli.shares import shares
from ratchet.core.errors import DataRejected
from wire.printable import printable

if TYPE_CHECKING:
    from ratchet.actions.labels.importing import ImportedLabels, ToolFile
    from ratchet.actions.labels.pushing import Forecast
    from ratchet.core.labels.formats.items import ImportOptions
    from ratchet.core.labels.schema import ExampleSchema

_FIELDS = ("id", "label", "labeler", "labeled_at", "corrects")
_REASONS_MAX = 5
"""Of each kind of item that is left out, on a terminal; `--json` has ten."""


def add_to(labels: typer.Typer) -> None:
    """Add the command to the group `labels`."""
    labels.command("import")(import_file)


def import_file(
    file: Annotated[Path, typer.Argument(help="The file that the tool exported.")],
    task: TaskOption,
    format_name: Annotated[
        str,
        typer.Option(
            "--format", help="label-studio, coco, csv, jsonl, parquet, argilla, doccano or cvat. Default: by the file."
        ),
    ] = "",
    labeler: Annotated[str, typer.Option(help="Labeler of the labels whose annotator the file does not name.")] = "",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="FIELD=TARGET: an input, id, label, labeler, labeled_at or corrects has this field."
        ),
    ] = None,
    images: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER/ with the pictures that the file names.")] = "",
    queue: Annotated[
        Path | None, typer.Option(help="The queue's file, where the tool keeps no field of it (CVAT, COCO).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be pushed, and push nothing.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Push labels of known ids too, as second opinions.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Import the labels that a labelling tool exported, and push them for the next run.

    Each annotation is one label with its annotator and time. Skipped annotations, predictions and drafts are left out;
    so is each item that the task cannot learn from, with its reason. The other labels are pushed in one shard.

    An example of `ratchet labels queue` brings back whether it was audited or blind (`queue_mark`): `ratchet labelers`
    shows how far the champion's answers pull the labelers. Of a tool that keeps no such field `--queue` is the queue.

    Nothing is pushed, and the exit code is 11, when the labels were pushed before (see `ratchet labels push`).

    Example: ratchet labels import project-7.json --task mails --dry-run
    """
    from ratchet import wiring
    from ratchet.actions.labels.importing import format_of, import_labels, read_queue, read_tool_file
    from ratchet.actions.labels.pushing import forecast, is_review
    from ratchet.core.errors import NothingNew

    spec = wiring.task_spec(task)
    found = read_tool_file(file)
    chosen = format_of(found, given=format_name)
    options = options_of(found, spec.examples, labeler=labeler, columns=columns or (), images=images)
    marks = read_queue(queue) if queue else {}
    imported = import_labels(found, spec, options, format=chosen, marks=marks)
    told = forecast(imported.data, imported.ids, stores=wiring.label_stores(), task=task)
    counts = imported.counts
    puts_right = is_review(counts.num_by_labeler, spec.reviewers, num_corrections=counts.num_corrections)
    lands = told.lands(anyway=anyway or puts_right)
    key = ""
    if lands and not dry_run:
        num = counts.num_labels
        key = wiring.label_store().put_shard(task, imported.data, num_labels=num, counts=imported.shard)
    told_all = _render(imported, told, task=task, file=str(file), format_name=chosen, key=key)
    if as_json:
        print_json(told_all)
    else:
        _print(told_all, told, was_guessed=not format_name, key=key, lands=lands)
    if not lands and not dry_run:
        raise NothingNew(f"{file}: nothing is pushed, {told.text}.{told.hint}")


def options_of(
    file: "ToolFile", schema: "ExampleSchema", *, labeler: str, columns: Sequence[str], images: str
) -> "ImportOptions":
    """DataRejected when a `--map` names no input, or `--images` is no place in a bucket."""
    from ratchet.core.labels.formats.items import ImportOptions

    inputs = [each.name for each in schema.inputs]
    targets = (*_FIELDS, *inputs, *(f"inputs.{name}" for name in inputs))
    mapped = {}
    for each in columns:
        column, _, target = each.rpartition("=")
        if not column or target not in targets:
            known = ", ".join((*_FIELDS, *inputs[:20]))
            shown = printable(each, chars_max=80)
            raise DataRejected(f"`--map {shown}`: write FIELD=TARGET; the targets of this task are {known}.")
        mapped[column] = target
    twice = sorted({target for target in mapped.values() if list(mapped.values()).count(target) > 1})
    if twice:
        raise DataRejected(f"`--map`: several fields are mapped to {', '.join(twice)}. Map one field to each target.")
    if images and not images.startswith("s3://"):
        shown = printable(images, chars_max=80)
        raise DataRejected(f"`--images {shown}`: write s3://BUCKET/FOLDER/, where the pictures lie.")
    at = file.written_at.isoformat().replace("+00:00", "Z")
    return ImportOptions(schema=schema, at=at, labeler=labeler, images=images, columns=mapped)


def _render(
    imported: "ImportedLabels", told: "Forecast", *, task: str, file: str, format_name: str, key: str
) -> dict[str, Any]:
    """What `--json` prints."""
    counts = imported.counts
    return {
        "task": task,
        "file": file,
        "format": format_name,
        "key": key or None,
        "num_labels": counts.num_labels,
        "num_by_class": dict(sorted(counts.num_by_class.items())),
        "num_by_labeler": dict(sorted(counts.num_by_labeler.items())),
        "num_queued": counts.num_queued,
        "num_known_ids": told.num_known,
        "num_corrections": counts.num_corrections,
        "fate": told.fate,
        "examples": counts.examples,
        "left_out": counts.left_out_rows(),
    }


def _print(told: Mapping[str, Any], forecast: "Forecast", *, was_guessed: bool, key: str, lands: bool) -> None:
    guessed = " (told from the file)" if was_guessed else ""
    stdout.print(f"{told['file']}: {told['format']}{guessed}", markup=False)
    queued = f"; {told['num_queued']:,} are of a queue" if told["num_queued"] else ""
    num_left_out = sum(row["num"] for row in told["left_out"])
    done = f"pushed as {key}" if key else "can be pushed (dry run)" if lands else forecast.text
    known = f"; {forecast.num_known} of their ids have a label already" if forecast.num_known and key else ""
    if told["num_corrections"]:
        known += f"; corrections: {told['num_corrections']:,}"
    stdout.print(
        f"{told['num_labels']:,} labels of {told['task']}: {done}{known}; {num_left_out:,} left out{queued}",
        markup=False,
    )
    for kind in ("class", "labeler"):
        if told[f"num_by_{kind}"]:
            stdout.print()
            stdout.print(shares(kind, told[f"num_by_{kind}"], num_untold=0))
    if not key:
        stdout.print()
        stdout.print("The first labels:", markup=False)
        for line in told["examples"]:
            stdout.print(f"  {_short(line)}", markup=False)
    if told["left_out"]:
        stdout.print()
        stdout.print(_left_out_table(told["left_out"]))
    if told["num_by_class"] and any(row["why"] == "wrong" for row in told["left_out"]):
        stderr.print("Correct the items that cannot be imported in the tool, and import its next export.", markup=False)


def _left_out_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("left out", justify="right")
    table.add_column("place", overflow="fold")
    table.add_column("reason", overflow="fold")
    for row in rows:
        shown = row["items"][:_REASONS_MAX] if row["why"] == "wrong" else row["items"][:1]
        for number, item in enumerate(shown):
            count = f"{row['num']:,}" if number == 0 else ""
            table.add_row(Text(count), Text(item["place"]), Text(item["reason"]))
        if row["why"] == "wrong" and row["num"] > len(shown):
            table.add_row(Text(""), Text("…"), Text(f"{row['num'] - len(shown):,} more; `--json` has the first 10"))
    return table


def _short(line: Mapping[str, Any]) -> str:
    return printable(", ".join(f"{name}: {value}" for name, value in line.items()), chars_max=150)
