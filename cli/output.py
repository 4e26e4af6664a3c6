"""How every command speaks: data on stdout (a table, or JSON with --json), progress and errors on stderr."""

import io
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wire.printable import printable_lines

_WIDTH_OF_A_FILE = 160
"""Columns where there is no terminal to fit: a pipe or a log."""


def _width_of(stream: TextIO | None) -> int | None:
    """None: that of the terminal. A stream that the caller closed is None in Python."""
    return None if stream is not None and stream.isatty() else _WIDTH_OF_A_FILE


stdout = Console(highlight=False, soft_wrap=True, width=_width_of(sys.stdout))
stderr = Console(stderr=True, highlight=False, soft_wrap=True, width=_width_of(sys.stderr))

_ISO_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)")

WAIT_HELP = "Wait for the end of the run. Exit 0: promoted; 1: the run failed; 9: it succeeded and promoted nothing."
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def print_anything() -> None:
    """Have stdout and stderr escape what their encoding lacks, so that no name, however odd, ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: Any) -> None:
    """One JSON document (RFC 8259) in ASCII; no colour, no wrapping, so that a program can read it."""
    try:
        text = json.dumps(value, indent=2, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=2, default=str)
    typer.echo(text)


def _finite(value: Any) -> Any:
    """NaN and infinities as null: JSON has no word for them."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_rows(rows: Sequence[Mapping[str, Any]], *, columns: Iterable[str], as_json: bool, empty: str = "") -> None:
    """Rows as a table or as a JSON list; `empty` is what people see when no row exists."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        stderr.print(empty)
        return
    stdout.print(table_of(rows, columns=columns))


def table_of(rows: Sequence[Mapping[str, Any]], *, columns: Iterable[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = list(columns)
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(cell_of(row.get(name)) for name in names))
    return table


def cell_of(value: Any) -> Text:
    """What people read in a table: times in UTC to the second, fractions to three digits, nothing for None.

    Text, so that brackets in a value are no markup; a Text is taken as it is.
    """
    if isinstance(value, Text):
        return value
    return Text("" if value is None else _words_of(value))


def _words_of(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return printable_lines(_ISO_TIME.sub(r"\1 \2", str(value)))


def print_error(message: str) -> None:
    stderr.print("[bold red]error:[/]", end=" ")
    stderr.print(printable_lines(message), markup=False)
