"""`ratchet labels`: push labelled examples, and see what waits for the next run."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.text import Text

from cli import labels_backend, labels_import, labels_queue, quarantine
from cli.names import TaskOption
from cli.output import JsonFlag, print_json, print_rows, stderr, stdout
from cli.shares import shares
from cli.words import age_words, bar

if TYPE_CHECKING:
    from ratchet.core.labels.backlog import Backlog

_LOOKS_MAX = 50
"""Of 2,000 shards each; what is left after them is said, not counted."""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    labels = typer.Typer(
        help="Labelled examples: push or import them, choose the next ones to label, count those that wait.",
        no_args_is_help=True,
    )
    labels.command("push")(push)
    labels_import.add_to(labels)
    labels_queue.add_to(labels)
    labels_backend.add_to(labels)
    labels.command("count")(count)
    labels.command("history")(history)
    quarantine.add_to(labels)
    app.add_typer(labels, name="labels")


def push(
    file: Annotated[Path, typer.Argument(help="JSONL or Parquet file, one labelled example per line or row.")],
    task: TaskOption,
    labeler: Annotated[str, typer.Option(help="Labeler of the lines without `labeler`.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and say what would become of it.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Push labels of known ids too, as second opinions.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Push a file of labels for the next run. Every line is checked first; all lines are pushed, or none.

    A line: {"id": "img-7", "features": [0, 3.5], "label": "4", "labeler": "ada", "labeled_at": "2026-01-31T09:00:00Z"}

    A line of a task with typed inputs has {"inputs": {"carrier": "AA", "distance": 733.5}} in the place of `features`.
    Its label is the name of a class, a number, or a list of tags. A Parquet file has columns of the same names.

    Nothing is pushed, and the exit code is 11, when the labels would not count: the same lines were pushed before and
    wait, were taken in or are in quarantine, or every id has a label already. `--anyway` pushes second opinions about
    known ids: two who agree put a label right, one counts for or against the labeler. A line with `"corrects": true`
    puts a label right alone, and so does a reviewer; files with such lines need no `--anyway`.

    Example: ratchet labels push today.jsonl --task digits --labeler ada
    """
    from ratchet import wiring
    from ratchet.actions.labels.pushing import forecast, is_review, read_file
    from ratchet.core.errors import NothingNew

    stores, spec = wiring.label_stores(), wiring.task_spec(task)
    read = read_file(
        file,
        schema=spec.examples,
        defaults={"labeler": labeler} if labeler else {},
        images=stores.images,
        watch=_with_progress,
    )
    told = forecast(read.data, read.ids, stores=stores, task=task)
    puts_right = is_review(read.counts.num_by_labeler or (), spec.reviewers, num_corrections=read.num_corrections)
    if not told.lands(anyway=anyway or puts_right):
        raise NothingNew(f"{file}: nothing is pushed, {told.text}.{told.hint}")
    key = ""
    if not dry_run:
        key = wiring.label_store().put_shard(task, read.data, num_labels=read.num_labels, counts=read.counts)
    if as_json:
        counts = {"num_labels": read.num_labels, "num_known_ids": told.num_known}
        print_json({"task": task, "key": key or None, **counts, "num_corrections": read.num_corrections})
        return
    done = f"pushed as {key}" if key else "can be pushed (dry run)"
    then = "which these put right" if puts_right else "which stays unless two others outvote it"
    known = f"; {told.num_known} of their ids have a label already, {then}" if told.num_known else ""
    stdout.print(f"{read.num_labels} labels of {task} {done}{known}", markup=False)


def count(task: TaskOption, as_json: JsonFlag = False) -> None:
    """Count the labels that wait for the next run, by class and by labeler, and those that do not count.

    Example: ratchet labels count --task digits --json
    """
    from ratchet import wiring
    from ratchet.core.runs import TriggerPolicy, threshold_at

    wiring.task_spec(task)
    now = datetime.now(UTC)
    threshold = threshold_at(wiring.policy(task, "trigger", TriggerPolicy), (), at=now)
    counted = render_count(_look(task), task=task, threshold=threshold, now=now)
    if as_json:
        print_json(counted)
    else:
        _print_count(counted)


def history(
    example_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the example.")],
    task: TaskOption,
    as_json: JsonFlag = False,
) -> None:
    """Show every opinion about one example, oldest first: who said what, when, and what became of it.

    All label shards of the task are read.

    Example: ratchet labels history img-7 --task digits
    """
    from ratchet import wiring
    from ratchet.actions.labels.history import opinions_about

    with Progress(console=stderr, transient=True, disable=as_json or not stderr.is_terminal) as bar_:
        shown = bar_.add_task("label shards", total=None)
        found = opinions_about(
            wiring.label_stores(),
            wiring.task_spec(task).examples,
            example_id,
            task=task,
            watch=lambda done, total: bar_.update(shown, completed=done, total=total),
        )
    rows = [{**said._asdict(), "labeled_at": said.labeled_at.isoformat()} for said in found]
    columns = ("labeled_at", "labeler", "label", "corrects", "state", "shard")
    shown_rows = rows if as_json else [{**row, "corrects": "yes" if row["corrects"] else ""} for row in rows]
    print_rows(shown_rows, columns=columns, as_json=as_json, empty=f"No label shard of {task} names {example_id}.")


def render_count(pending: "Backlog", *, task: str, threshold: int | None, now: datetime) -> dict[str, Any]:
    """What `--json` prints."""
    oldest_at = pending.oldest_at
    return {
        "task": task,
        "num_pending": pending.num_labels,
        "num_shards": len(pending.shards),
        "threshold": threshold,
        "oldest_at": oldest_at,
        "oldest_age_s": max(round((now - oldest_at).total_seconds()), 0) if oldest_at else None,
        "num_by_class": dict(pending.num_by_class),
        "num_by_labeler": dict(pending.num_by_labeler),
        "num_untold": pending.num_untold,
        "num_resent": pending.num_resent,
        "num_shards_quarantined": pending.num_quarantined,
        "num_shards_left": pending.num_left,
        "left_alone": list(pending.from_future),
        "version": pending.accepted.version if pending.accepted else None,
        "watermark": pending.watermark,
    }


def _look(task: str) -> "Backlog":
    """Look until all shards are counted; each look goes on where the one before it stopped."""
    from ratchet import wiring
    from ratchet.actions.labels.datasets import list_pending
    from ratchet.actions.labels.memory import Memory

    memory = Memory()
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        bar = progress.add_task("counting", total=None)
        for _ in range(_LOOKS_MAX):
            pending = list_pending(wiring.label_stores(), task=task, memory=memory)
            num_seen = len(pending.shards)
            progress.update(bar, total=num_seen + pending.num_left, completed=num_seen)
            if not pending.num_left:
                break
    return pending


def _with_progress(opinions: Iterator[Any], num: int) -> Iterable[Any]:
    """A bar on a terminal, and nothing in a log, where rich would print a line for each step."""
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        yield from progress.track(opinions, total=num, description="checking")


def _print_count(counted: dict[str, Any]) -> None:
    since = f"since {counted['version']}" if counted["version"] else "and no dataset version yet"
    age = f", the oldest for {age_words(counted['oldest_age_s'])}" if counted["oldest_at"] else ""
    stdout.print(
        f"{counted['num_pending']:,} labels of {counted['task']} wait in {counted['num_shards']:,} shards {since}{age}",
        markup=False,
    )
    if counted["threshold"] is None:  # the policy's own tree of conditions, without one
        stdout.print(f"`ratchet sensor explain --task {counted['task']}` shows when they start a run", markup=False)
    else:
        stdout.print(_meter(counted["num_pending"], counted["threshold"]), end="")
        stdout.print(f" of the {counted['threshold']:,} that start a run", markup=False)
    for kind in ("class", "labeler"):
        if counted[f"num_by_{kind}"] or counted["num_untold"]:
            stdout.print()
            stdout.print(shares(kind, counted[f"num_by_{kind}"], num_untold=counted["num_untold"]))
    for text in _list_asides(counted):
        stderr.print(text, markup=False)


def _meter(number: int, whole: int) -> Text:
    """How far it is: `█████░░░░░`."""
    drawn = bar(number / whole)
    num_full = drawn.count("█")
    style = "green" if number >= whole else "yellow"
    return Text(drawn[:num_full], style=style) + Text(drawn[num_full:], style="dim")


def _list_asides(counted: dict[str, Any]) -> Iterable[str]:
    """What lies in the bucket and does not count, and why."""
    if counted["num_resent"]:
        yield f"{counted['num_resent']:,} labels were sent again under another key: they do not count twice"
    if counted["num_shards_quarantined"]:
        door = f"`ratchet labels quarantine list --task {counted['task']}` says why"
        yield f"{counted['num_shards_quarantined']:,} recent shards, or parts of them, are in quarantine: {door}"
    if counted["num_shards_left"]:
        yield f"{counted['num_shards_left']:,} more shards wait; count again, or start a run, which takes them all"
    for key in counted["left_alone"]:
        yield f"ignored, its key does not match the time at which it landed: {key}. Push it again under a new key."
