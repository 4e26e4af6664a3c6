"""`ratchet models pin-case | unpin-case | cases`: examples that no new model may get wrong."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.names import check_task, complete_task
from cli.output import JsonFlag, print_json, print_rows, stderr

if TYPE_CHECKING:
    from ratchet.core.models.cases import PinnedCase

_TaskName = Annotated[
    str, typer.Argument(help="Name of the task.", callback=check_task, autocompletion=complete_task, show_default=False)
]


def add_to(models_app: typer.Typer) -> None:
    """Add the commands to the group `models`."""
    models_app.command("pin-case")(pin_case)
    models_app.command("unpin-case")(unpin_case)
    models_app.command("cases")(list_cases)


def pin_case(
    task: _TaskName,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Id of an example of the newest dataset version.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A JSONL file of label lines.", exists=True, dir_okay=False)
    ] = None,
    reason: Annotated[str, typer.Option(help="Why no model may get it wrong. Do not name a person here.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Pin examples with their right answers: a challenger that gets one wrong which the champion gets right is refused.

    They are written to configs/tasks/TASK.golden.jsonl: review and deploy it like the task file. Later trainings leave
    pinned examples out.

    Example: ratchet models pin-case digits --id digit-17 --reason "served wrongly on Monday"
    """
    from ratchet import wiring
    from ratchet.actions.models.pinned_cases import pin, rows_of_file, rows_of_ids

    if not ids and file is None:
        raise typer.BadParameter("name an example with --id, or a file of label lines with --file")
    spec = wiring.task_spec(task)
    rows = rows_of_file(file, spec.examples) if file is not None else []
    if ids:
        rows += rows_of_ids(wiring.dataset_store(), spec, list(dict.fromkeys(ids)), at=datetime.now(UTC))
    path = wiring.cases_path(task)
    pinned = pin(path, rows, spec.examples, reason=reason)
    _tell(pinned, path, "pinned", as_json=as_json)


def unpin_case(
    task: _TaskName,
    cases: Annotated[list[str], typer.Argument(metavar="CASE...", help="Names or ids of pinned cases.")],
    as_json: JsonFlag = False,
) -> None:
    """Take pinned cases out of configs/tasks/TASK.golden.jsonl.

    Example: ratchet models unpin-case digits case-1
    """
    from ratchet import wiring
    from ratchet.actions.models.pinned_cases import unpin

    path = wiring.cases_path(task)
    _tell(unpin(path, cases, wiring.task_spec(task).examples), path, "unpinned", as_json=as_json)


def list_cases(task: _TaskName, as_json: JsonFlag = False) -> None:
    """List the pinned cases of a task, with their right answers.

    Example: ratchet models cases digits
    """
    from ratchet import wiring
    from ratchet.actions.models.pinned_cases import read_cases

    cases = read_cases(wiring.cases_path(task), wiring.task_spec(task).examples)
    empty = f"{task} has no pinned case. `ratchet models pin-case {task} --id ID` pins one."
    print_rows(
        [_row_of(case) for case in cases], columns=("case", "id", "label", "reason"), as_json=as_json, empty=empty
    )


def _tell(cases: "Sequence[PinnedCase]", path: Path, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json([_row_of(case) for case in cases])
        return
    for case in cases:
        stderr.print(f"{case.name}: {case.id} {what}, label {_row_of(case)['label']}", markup=False)
    stderr.print(f"Review and deploy {path}: the next evaluation reads it", markup=False)


def _row_of(case: "PinnedCase") -> dict[str, str]:
    from ratchet.core.labels.answers import label_text

    return {"case": case.name, "id": case.id, "label": label_text(case.row["label"]), "reason": case.reason}
