"""How every command speaks: data on stdout (a table, or JSON with --json), progress and errors on stderr."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
TaskOption = Annotated[str, typer.Option("--task", "-t", help="Name of the task, as in configs/tasks/<task>.yaml.")]


def print_json(value: Any) -> None:
    """One JSON document; no colour, no wrapping, so that a program can read it."""
    typer.echo(json.dumps(value, indent=2, default=str))


def print_rows(rows: Sequence[Mapping[str, Any]], *, columns: Iterable[str], as_json: bool, empty: str = "") -> None:
    """Rows as a table or as a JSON list; `empty` is what people see when there are none."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        stderr.print(empty)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = list(columns)
    for name in names:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(("" if row.get(name) is None else str(row.get(name))) for name in names))
    stdout.print(table)


def print_error(message: str) -> None:
    stderr.print("[bold red]error:[/]", end=" ")
    stderr.print(message, markup=False)
