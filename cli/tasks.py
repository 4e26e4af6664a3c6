"""`ratchet tasks …`: the tasks of configs/tasks/, and whether their code trains."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from cli import tasks_new
from cli.limits import TIMEOUT_S_MAX, check_finite
from cli.names import check_task, complete_task
from cli.output import JsonFlag, print_json, print_rows, stderr
from ratchet.core.errors import NotFound, PolicyError, RatchetError
from ratchet.core.models.task_checks import CheckResult, TaskReport

tasks = typer.Typer(help="Tasks: list them, and check that their code trains.", no_args_is_help=True)

TaskArgument = Annotated[
    str | None,
    typer.Argument(help="Name of the task; default: all.", callback=check_task, autocompletion=complete_task),
]
_COLUMNS = ("", "task", "check", "found")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    tasks_new.add_to(tasks)
    app.add_typer(tasks, name="tasks")


@tasks.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """Show the task files and what implements them. A file with an error is a row that shows it.

    Example: ratchet tasks list
    """
    from ratchet import wiring

    rows = [_task_row(task) for task in wiring.task_names()]
    columns = ("task", "implementation", "inputs", "output", "classes", "features", "error")
    print_rows(rows, columns=columns, as_json=as_json, empty="configs/tasks/ has no task file.")


@tasks.command()
def check(
    task: TaskArgument = None,
    timeout_s: Annotated[
        float,
        typer.Option(
            min=1, max=TIMEOUT_S_MAX, callback=check_finite, help="Seconds for one task, torch's import included."
        ),
    ] = 60.0,
    as_json: JsonFlag = False,
) -> None:
    """Try a task's code: load it, build the network, train one batch of made-up rows, save and load the model.

    Exit 4 when a check fails; it names the exception, and your file and line. Examples:

    ratchet tasks check digits

    ratchet tasks check --json
    """
    from ratchet import wiring

    names = wiring.task_names() if task is None else (task,)
    if not names:
        raise NotFound("configs/tasks/ has no task file.")
    reports = wiring.task_checks().check([wiring.task_spec(name) for name in names], timeout_s=timeout_s)
    if as_json:
        print_json([{**report.model_dump(mode="json"), "is_fine": report.is_fine} for report in reports])
    else:
        print_rows([row for report in reports for row in _rows_of(report)], columns=_COLUMNS, as_json=False)
    if not all(report.is_fine for report in reports):
        raise typer.Exit(PolicyError.exit_code)


def require_sound(reports: Sequence[TaskReport]) -> None:
    """PolicyError of a task whose code does not train; a line on stderr of one that could not be tried here."""
    for report in reports:
        if report.problem:
            raise PolicyError(
                f"Task {report.task!r} does not train: {report.problem}. Nothing was started. `ratchet tasks check "
                f"{report.task}` shows every check; `--no-check` starts the run anyway."
            )
        if report.not_checked:
            stderr.print(f"{report.task}: its code is not checked here: {report.not_checked}", markup=False)
        for warning in warnings_of(report):
            stderr.print(f"{report.task}: warning: {warning}", markup=False)


def warnings_of(report: TaskReport) -> Iterable[str]:
    return (each.warning for each in report.results if each.warning)


def _rows_of(report: TaskReport) -> list[dict[str, Any]]:
    if report.not_checked:
        return [_row(report.task, Text("-"), "", f"not checked here: {report.not_checked}")]
    return [_row(report.task, _sign_of(each), each.check, _found_of(each)) for each in report.results]


def _row(task: str, sign: Text, name: str, found: str) -> dict[str, Any]:
    return dict(zip(_COLUMNS, (sign, task, name, found), strict=True))


def _sign_of(result: CheckResult) -> Text:
    if result.state == "failed":
        return Text("✗", style="bold red")
    return Text("!", style="yellow") if result.warning else Text("✓", style="green")


def _found_of(result: CheckResult) -> str:
    return f"{result.text}; warning: {result.warning}" if result.warning else result.text


def _task_row(task: str) -> dict[str, Any]:
    from ratchet import wiring

    row: dict[str, Any] = dict.fromkeys(("inputs", "output", "classes", "features"))
    try:
        spec = wiring.task_spec(task)
    except RatchetError as error:
        return {"task": task, "implementation": "", **row, "error": str(error)}
    vector = spec.examples.short_input
    return {
        "task": task,
        "implementation": spec.implementation,
        "inputs": ", ".join(f"{each.name}: {each.type}" for each in spec.inputs),
        "output": spec.output.type,
        "classes": len(spec.classes) or None,
        "features": vector.size if vector is not None else None,
        "error": "",
    }
