"""`ratchet labelers`: who labels, how far each agrees with the others, and what `validate` makes of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from cli.names import OnlyTaskOption, complete_labeler, task_names
from cli.output import JsonFlag, print_json, stderr, stdout, table_of

if TYPE_CHECKING:
    from ratchet.actions.labels.labelers import Labelers
    from ratchet.core.labels.reliability.labelers import Differences, LabelerRow


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    labelers = typer.Typer(
        help="Labelers: how far each agrees with the others, and whom the checks suspect.", no_args_is_help=True
    )
    labelers.command("list")(list_)
    labelers.command("show")(show)
    app.add_typer(labelers, name="labelers")


def list_(task: OnlyTaskOption = None, as_json: JsonFlag = False) -> None:
    """List the labelers of a task, or of all: opinions, agreement with the others, corrections, quarantine, status.

    `agrees` is the share of shared examples on which a labeler says what most of the others say, with the bounds of
    95 %; `kappa` is Cohen's kappa with them (of numbers Krippendorff's alpha). Status: trusted; suspected, when a check
    of `validate` fails; too few, when no check has enough to judge; reviewer. The newest label shards are read, 128 MiB
    at most.

    Of labels that came from `ratchet labels queue`: `pull` is by how many points of a hundred a labeler gives the
    champion's answer more often where it is shown than where it is not (blind); below the table stand the pull on all
    labelers and the champion's accuracy on the examples that were drawn at random (audit), each with bounds of 95 %.

    Example: ratchet labelers list --task digits
    """
    found = _fetch(task)
    if as_json:
        rows_of_all = [row for each in found for row in _rows_of(each)]
        print_json({"labelers": rows_of_all, "queued": _queued_of(found), "read": [*map(_read_of, found)]})
        return
    rows = [_cells_of(each, row) for each in found for row in each.rows]
    columns = ("task", "labeler", "status", "opinions", "examples", "shared", "agrees", "kappa", "corrections",
               *(("pull",) if any(each.queued for each in found) else ()), "quarantined", "first", "last")  # fmt: skip
    if rows:
        stdout.print(table_of(rows, columns=columns if task is None else columns[1:]))
    else:
        stderr.print("No label shard has opinions. `ratchet labels push FILE --task TASK` adds some.", markup=False)
    for each in found:
        for text in _queue_texts(each):
            stdout.print(f"{each.task}: {text}", markup=False)
    _tell_read(found)


def show(
    name: Annotated[str, typer.Argument(help="Name of the labeler.", autocompletion=complete_labeler)],
    task: OnlyTaskOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one labeler: the status and its reason, agreement by class, confusions, and examples of disagreement.

    Example: ratchet labelers show anna --task digits
    """
    from ratchet import wiring
    from ratchet.actions.labels.labelers import differences_from_others, unknown_labeler

    found = _fetch(task)
    shown = [
        (each, row, differences_from_others(each, wiring.task_spec(each.task), name))
        for each in found
        for row in each.rows
        if row.labeler == name
    ]
    if not shown:
        raise unknown_labeler(name, found)
    if as_json:
        labelers = [
            {
                "task": each.task,
                **row.model_dump(mode="json"),
                "anchoring": _anchoring_of(each, row.labeler),
                "differences": differences.model_dump(mode="json"),
            }
            for each, row, differences in shown
        ]
        print_json({"labelers": labelers, "queued": _queued_of(found), "read": [*map(_read_of, found)]})
        return
    for each, row, differences in shown:
        _print_labeler(each, row, differences)
    _tell_read([each for each, _, _ in shown])


def _fetch(task: str | None) -> "list[Labelers]":
    """Of all tasks, those whose files can be read; the others are told."""
    from ratchet.core.errors import PolicyError

    if task is not None:
        return [_fetch_one(task)]
    found = []
    for name in task_names():
        try:
            found.append(_fetch_one(name))
        except PolicyError as error:
            stderr.print(f"{name} is left out: {error}", markup=False)
    return found


def _fetch_one(task: str) -> "Labelers":
    from ratchet import wiring
    from ratchet.actions.labels.labelers import list_labelers
    from ratchet.core.labels.quality import QualityPolicy

    spec, policy = wiring.task_spec(task), wiring.policy(task, "quality", QualityPolicy)
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        shown = bar.add_task(f"label shards of {task}", total=None)

        def watch(done: int, total: int) -> None:
            bar.update(shown, completed=done, total=total)

        return list_labelers(wiring.label_stores(), spec, policy, watch=watch)


def _rows_of(found: "Labelers") -> list[dict[str, Any]]:
    """Without the classes, which `show` has."""
    return [
        {
            "task": found.task,
            **row.model_dump(mode="json", exclude={"agreement": {"by_class"}}),
            "anchoring": _anchoring_of(found, row.labeler),
        }
        for row in found.rows
    ]


def _anchoring_of(found: "Labelers", labeler: str) -> dict[str, Any] | None:
    anchoring = found.queued.of(labeler) if found.queued else None
    return anchoring.model_dump(mode="json") if anchoring else None


def _queued_of(found: "Sequence[Labelers]") -> list[dict[str, Any]]:
    return [
        {"task": each.task, **each.queued.model_dump(mode="json", exclude={"by_labeler"})}
        for each in found
        if each.queued
    ]


def _queue_texts(found: "Labelers") -> list[str]:
    from ratchet.core.labels.reliability.queued import queue_texts

    return queue_texts(found.queued) if found.queued else []


def _read_of(found: "Labelers") -> dict[str, Any]:
    read = found.opinions
    return {
        "task": found.task,
        "num_opinions": read.said.num_rows,
        "num_shards": read.num_shards,
        "num_bytes": read.num_bytes,
        "num_shards_left": read.num_shards_left,
        "num_shards_unreadable": read.num_shards_unreadable,
    }


def _cells_of(found: "Labelers", row: "LabelerRow") -> dict[str, Any]:
    from ratchet.core.labels.reliability.page import estimate_text, share_text

    return {
        "task": found.task,
        "labeler": row.labeler,
        "status": row.status,
        "opinions": row.num_opinions,
        "examples": row.num_examples,
        "shared": row.agreement.num_shared,
        "agrees": share_text(row.agreement),
        "kappa": estimate_text(row.agreement.coefficient),
        "corrections": f"{row.num_corrections_made} made, {row.num_corrections_received} received",
        **_pull_cell(found, row.labeler),
        "quarantined": row.num_quarantined,
        "first": row.first_at.date(),
        "last": row.last_at.date(),
    }


def _pull_cell(found: "Labelers", labeler: str) -> dict[str, str]:
    """Nothing where no label came from a queue."""
    from ratchet.core.labels.reliability.queued import pull_text

    if not found.queued:
        return {}
    anchoring = found.queued.of(labeler)
    if anchoring is None:
        return {"pull": "–"}
    return {"pull": pull_text(anchoring.pull) if anchoring.pull else "too few"}


def _print_labeler(found: "Labelers", row: "LabelerRow", differences: "Differences") -> None:
    from ratchet.core.labels.reliability.page import estimate_text
    from ratchet.core.labels.reliability.queued import anchoring_text

    task, cells = found.task, _cells_of(found, row)
    stdout.print(f"{row.labeler}, task {task}: {row.status}", markup=False)
    stdout.print(f"  {row.reason}", markup=False)
    told = [
        {"what": name, "value": value} for name, value in cells.items() if name not in {"task", "labeler", "status"}
    ]
    stdout.print(table_of(told, columns=("what", "value")))
    if found.queued and (anchoring := found.queued.of(row.labeler)):
        stdout.print(anchoring_text(anchoring), markup=False)
    if row.agreement.by_class:
        classes = [
            {"class": name, "kappa with the others": estimate_text(each)}
            for name, each in row.agreement.by_class.items()
        ]
        _print_table(classes, ("class", "kappa with the others"))
    if differences.mean_difference is not None:
        stdout.print(
            f"\non average {differences.mean_difference:+.4g} from the others' median, "
            f"{differences.mean_distance:.4g} away from it",
            markup=False,
        )
    confusions = [
        {"says": each.label, "others say": each.others, "examples": each.num} for each in differences.confusions
    ]
    if confusions:
        _print_table(confusions, ("says", "others say", "examples"))
    if differences.sample:
        stdout.print(f"\n{len(differences.sample)} of {differences.num} examples of disagreement:", markup=False)
        sample = [{"id": each.id, "says": each.label, "others say": each.others} for each in differences.sample]
        stdout.print(table_of(sample, columns=("id", "says", "others say")))
        stdout.print(f"`ratchet labels history ID --task {task}` shows every opinion on one.", markup=False)


def _print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    stdout.print()
    stdout.print(table_of(rows, columns=columns))


def _tell_read(found: "Sequence[Labelers]") -> None:
    for each in found:
        read = each.opinions
        left = f"; {read.num_shards_left:,} older shards are not read" if read.num_shards_left else ""
        bad = f"; {read.num_shards_unreadable:,} shards cannot be read" if read.num_shards_unreadable else ""
        text = (
            f"{each.task}: read {read.said.num_rows:,} opinions in {read.num_shards:,} shards, {read.num_bytes:,} bytes"
        )
        stderr.print(f"{text}{left}{bad}", markup=False)
