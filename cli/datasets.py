"""`ratchet datasets …`: the versions of a task's dataset, and what must be forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress as Bar

from cli.names import TaskOption
from cli.output import JsonFlag, print_json, print_rows, stderr
from cli.person import user_name
from ratchet.core.errors import DataRejected

if TYPE_CHECKING:
    from ratchet.core.labels.erasure import ErasureRecord, Scanned, Watch

datasets = typer.Typer(help="Dataset versions: list and show them, erase examples.", no_args_is_help=True)
_LISTED = ("version", "examples", "classes", "erased", "verdict", "parent")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(datasets, name="datasets")


@datasets.command("list")
def list_(task: TaskOption, as_json: JsonFlag = False) -> None:
    """Show the versions of a task's dataset, newest first.

    Example: ratchet datasets list --task digits
    """
    from ratchet import wiring
    from ratchet.parallel import map_parallel

    manifests = wiring.dataset_store().fetch_manifests(task)[::-1]
    verdicts = map_parallel(wiring.verdicts().fetch, [manifest.version for manifest in manifests])
    rows = [
        {
            "version": manifest.version,
            "examples": manifest.num_labels,
            "classes": len(manifest.num_labels_by_class) or None,
            "erased": manifest.erased or None,
            "verdict": verdict.verdict if verdict else "none yet",
            "parent": manifest.parent or "",
        }
        for manifest, verdict in zip(manifests, verdicts, strict=True)
    ]
    print_rows(rows, columns=_LISTED, as_json=as_json, empty=f"{task} has no dataset version yet.")


@datasets.command()
def show(
    version: Annotated[str, typer.Argument(help="As in digits/v3.")],
    as_json: JsonFlag = False,
) -> None:
    """Show one version: its counts, its files, and how to get it with git and dvc.

    Example: ratchet datasets show digits/v3
    """
    from ratchet import wiring
    from ratchet.core.labels.dataset import version_number

    try:
        version_number(version)
    except ValueError as error:
        raise DataRejected(f"{error}. `ratchet datasets list` shows them.") from None
    manifest = wiring.dataset_store().fetch_manifest(version)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    repo = wiring.settings().dataset_repo
    rows: list[dict[str, Any]] = [
        {"name": "examples", "value": f"{manifest.num_labels:,}"},
        *({"name": f"  {name}", "value": f"{number:,}"} for name, number in manifest.num_labels_by_class.items()),
        {"name": "erased", "value": f"{manifest.erased:,}"},
        {"name": "parent", "value": manifest.parent or "none"},
        {"name": "watermark", "value": manifest.watermark},
        *({"name": file.path, "value": f"{file.num_rows:,} rows"} for file in manifest.files),
        {"name": "get it", "value": f"git clone --branch {version} {repo} && dvc pull"},
    ]
    print_rows(rows, columns=("name", "value"), as_json=False)


@datasets.command()
def erase(
    task: TaskOption,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Ids of the examples.", show_default=False)
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the record keeps it. Do not name the person here.")] = "",
    from_file: Annotated[
        Path | None, typer.Option("--from", help="A file with one id a line.", exists=True, dir_okay=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Complete an erasure that was interrupted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Erase examples from label shards, every dataset version, the payload log, feedback and the tables of past runs.
    This cannot be undone.

    Every version stays readable with git and dvc, without these rows. Logged answers have no ids of examples: those to
    exactly the same inputs are erased. The record says when, by whom and how much, not
    what, and names the models that learned from a version with them: retrain, and roll those back where you must.

    Examples:

    ratchet datasets erase img-7 img-9 --task digits --reason "request 2026-114"

    ratchet datasets erase --from ids.txt --task digits --reason "request 2026-115" --yes
    """
    from ratchet import wiring
    from ratchet.actions.labels import erasing
    from ratchet.core.labels.erasure import IDS_MAX, ErasureOrder

    if resume:
        holders = wiring.erasure_holders(task)
        with _progress(is_quiet=as_json) as watch:
            record = erasing.resume(holders, task, now=_now, watch=watch)
        if record is None:
            raise DataRejected(f"No erasure of {task!r} is under way.")
    else:
        listed = _ids_of(ids, from_file)
        if not reason:
            raise typer.BadParameter("say why with --reason: the record keeps it")
        if len(listed) > IDS_MAX:
            raise typer.BadParameter(f"{len(listed)} ids; the limit is {IDS_MAX} at once")
        if not yes:
            typer.confirm(f"Erase {len(listed)} examples of {task} for good?", abort=True, err=True)
        order = ErasureOrder(ids=listed, by=user_name(), reason=reason, at=_now())
        holders = wiring.erasure_holders(task)
        with _progress(is_quiet=as_json) as watch:
            record = erasing.erase(holders, task, order, now=_now, watch=watch)
    _print_record(record, task, as_json=as_json)


@datasets.command()
def erasures(task: TaskOption, as_json: JsonFlag = False) -> None:
    """Show what was erased: when, by whom, how much, and the models that had learned it.

    Example: ratchet datasets erasures --task digits
    """
    from ratchet import wiring

    records = wiring.erasures().list(task)
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
        return
    rows = [
        {
            "at": record.at.isoformat(timespec="seconds"),
            "by": record.by,
            "ids": record.num_ids,
            "rows": record.num_rows,
            "answers": record.num_answers,
            "versions": len(record.versions),
            "models": ", ".join(record.models),
            "reason": record.reason,
        }
        for record in records
    ]
    columns = ("at", "by", "ids", "rows", "answers", "versions", "models", "reason")
    print_rows(rows, columns=columns, as_json=False, empty=f"Nothing of {task} was erased.")


def _ids_of(ids: list[str] | None, path: Path | None) -> tuple[str, ...]:
    from ratchet.core.labels.erasure import parse_ids

    listed = parse_ids(path.read_bytes(), where=str(path)) if path else []
    found = tuple(dict.fromkeys((*(ids or ()), *listed)))
    if not found:
        raise typer.BadParameter("name at least one id, or a file of them with --from")
    return found


def _print_record(record: "ErasureRecord", task: str, *, as_json: bool) -> None:
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    stderr.print(
        f"{task}: {record.num_ids} ids erased: {record.num_lines} lines of label shards, {record.num_rows} rows in "
        f"{len(record.versions)} dataset versions, {record.num_answers} logged answers, {record.num_feedback} items of "
        "feedback",
        markup=False,
    )
    stderr.print(f"Read: {', '.join(f'{num:,} {what}' for what, num in record.read.items())}", markup=False)
    for name in record.unreadable:
        stderr.print(f"Not searched, look at it yourself: {name}", markup=False)
    if not record.num_lines and not record.num_rows and not record.num_answers:
        stderr.print("None of these ids was there.", markup=False)
    if record.models:
        stderr.print(f"Models that learned from them: {', '.join(record.models)}", markup=False)
        stderr.print(f"Next: `ratchet run retrain --task {task} --again` trains without it", markup=False)


def _now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def _progress(*, is_quiet: bool) -> Iterator["Watch"]:
    with Bar(console=stderr, transient=True, disable=is_quiet or not stderr.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def watch(progress: "Scanned") -> None:
            if progress.what not in tasks:
                tasks[progress.what] = bar.add_task(progress.what, total=progress.num)
            bar.update(tasks[progress.what], completed=progress.num_done)

        yield watch
