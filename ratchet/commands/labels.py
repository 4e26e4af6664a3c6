"""`ratchet labels`: push labelled examples, and see what waits for the next run."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from ratchet.commands.output import JsonFlag, TaskOption, print_json, print_rows, stderr, stdout

if TYPE_CHECKING:
    from ratchet.core.labels import LabelShard
    from ratchet.tasks.spec import TaskSpec

SHARDS_COUNTED_MAX = 200
BYTES_COUNTED_MAX = 32 << 20
"""What `count` reads to say who labelled what; beyond it the totals alone are cheap."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    labels = typer.Typer(help="Labelled examples: push them, count what waits.", no_args_is_help=True)
    labels.command("push")(push)
    labels.command("count")(count)
    app.add_typer(labels, name="labels")


def push(
    file: Annotated[Path, typer.Argument(help="JSONL: one labelled example a line.")],
    task: TaskOption,
    labeler: Annotated[str, typer.Option(help="Who labelled the lines that do not say.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Put a file of labels where the next run finds them. Every line is checked first; all land, or none.

    A line: {"id": "img-7", "features": [0, 3.5], "label": "4", "labeler": "ada", "labeled_at": "2026-01-31T09:00:00Z"}

    Example: ratchet labels push today.jsonl --task digits --labeler ada
    """
    from ratchet import wiring
    from ratchet.actions.labels import label_schema_of, read_label_file
    from ratchet.core.labels import render_labels

    labels = read_label_file(
        file,
        schema=label_schema_of(wiring.task_spec(task), with_range=True),
        defaults={"labeler": labeler} if labeler else {},
        watch=_with_progress,
    )
    key = wiring.label_store().put_shard(task, render_labels(labels), num_labels=len(labels))
    if as_json:
        print_json({"task": task, "key": key, "num_labels": len(labels)})
    else:
        stdout.print(f"{len(labels)} labels of {task} pushed as {key}", markup=False)


def count(task: TaskOption, as_json: JsonFlag = False) -> None:
    """Labels that wait for the next run, by class and by labeler.

    Example: ratchet labels count --task digits --json
    """
    from ratchet import wiring
    from ratchet.actions.datasets import list_pending
    from ratchet.core.trigger import TriggerPolicy

    spec = wiring.task_spec(task)
    pending = list_pending(
        wiring.label_store(),
        wiring.dataset_store(),
        wiring.object_store(),
        task=task,
        bucket=wiring.settings().ratchet_bucket,
    )
    counted = {
        "task": task,
        "num_pending": pending.num_labels,
        "num_shards": len(pending.shards),
        "threshold": wiring.policy(task, "trigger", TriggerPolicy).threshold,
        "version": pending.accepted.version if pending.accepted else None,
        "watermark": pending.watermark,
        "left_alone": list(pending.from_future),
        **_count_by_kind(spec, pending.shards),
    }
    if as_json:
        print_json(counted)
    else:
        _print_count(counted)


def _with_progress(lines: Sequence[str]) -> Iterable[str]:
    """A bar on a terminal, and nothing in a log, where rich would print a line for each step."""
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        yield from progress.track(lines, description="checking")


def _count_by_kind(spec: "TaskSpec", shards: "Sequence[LabelShard]") -> dict[str, Any]:
    """Labels by class and by labeler, and the shards that cannot be read; nothing when it would take long to read."""
    from ratchet import wiring
    from ratchet.actions.labels import label_schema_of, read_shard
    from ratchet.core.errors import DataRejected

    if len(shards) > SHARDS_COUNTED_MAX or sum(shard.size_bytes for shard in shards) > BYTES_COUNTED_MAX:
        return {}
    by_class: Counter[str] = Counter()
    by_labeler: Counter[str] = Counter()
    unreadable = {}
    schema, store = label_schema_of(spec, with_range=False), wiring.label_store()
    for shard in shards:
        try:
            labels = read_shard(shard.key, store.fetch_shard(shard.key), schema=schema)
        except DataRejected as error:
            unreadable[shard.key] = str(error)
            continue
        by_class.update(label.label for label in labels)
        by_labeler.update(label.labeler for label in labels)
    return {
        "num_by_class": dict(sorted(by_class.items())),
        "num_by_labeler": dict(sorted(by_labeler.items())),
        "unreadable": unreadable,
    }


def _print_count(counted: dict[str, Any]) -> None:
    since = f"since {counted['version']}" if counted["version"] else "and no dataset version yet"
    stdout.print(
        f"{counted['num_pending']} labels of {counted['task']} wait in {counted['num_shards']} shards {since}; "
        f"the sensor starts a run at {counted['threshold']}",
        markup=False,
    )
    for kind in ("class", "labeler"):
        by_kind = counted.get(f"num_by_{kind}", {})
        rows = [{kind: name, "labels": number} for name, number in by_kind.items()]
        if rows:
            print_rows(rows, columns=(kind, "labels"), as_json=False)
    for reason in counted.get("unreadable", {}).values():
        stderr.print(f"cannot be read: {reason}", markup=False)
    for key in counted["left_alone"]:
        stderr.print(f"left alone, its key is from the future: {key}. Put it again under a new key.", markup=False)
