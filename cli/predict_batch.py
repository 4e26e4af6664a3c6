"""`ratchet predict --batch`: the champion's answers to many rows, without a server in between."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import typer

from cli.output import print_json, stdout


class BatchFormat(StrEnum):
    jsonl = "jsonl"
    parquet = "parquet"


def open_binary(name: str) -> BinaryIO:
    """A file, or stdin of `-`; a usage error when it cannot be opened."""
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise typer.BadParameter(f"'{name}': {error.strerror}", param_hint="'FILE'") from None


def predict_to(
    output: str, source: str, *, task: str, output_format: BatchFormat, is_batch: bool, as_json: bool
) -> None:
    """Write all answers, and print what was done."""
    from ratchet import wiring
    from ratchet.actions.models.batch_predicting import Ask, predict_batch

    if not (output and is_batch):
        raise typer.BadParameter("--batch and --output belong together: --batch --output FOLDER.")

    def tell(num_rows: int, num_errors: int) -> None:
        sys.stderr.write(f"{num_rows:,} rows, {num_errors:,} of them errors\n")

    summary = predict_batch(
        wiring.task_spec(task),
        Ask(source, "parquet" if output_format is BatchFormat.parquet else "jsonl"),
        wiring.batch_place(output),
        wiring.batch_ports(source),
        tell=tell,
    )
    if as_json:
        print_json(summary.model_dump(mode="json"))
        return
    stdout.print(
        f"{output}  {summary.num_answers:,} answers, {summary.num_errors:,} errors  model {summary.model_digest[:12]}",
        markup=False,
        soft_wrap=True,
    )
