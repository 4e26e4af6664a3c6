"""`ratchet run batch-predict`: a run that answers many rows."""

from typing import Annotated

import typer

from cli.limits import TIMEOUT_S_MAX, check_finite
from cli.names import TaskOption
from cli.output import JsonFlag
from cli.predict_batch import BatchFormat
from cli.runs.by_hand import start_by_hand


def add_to(group: typer.Typer) -> None:
    """Add the commands of this module to `ratchet run`."""
    group.command("batch-predict")(batch_predict)


def batch_predict(
    source: Annotated[str, typer.Argument(help="A dataset version such as digits/v3, or s3://BUCKET/PREFIX.")],
    task: TaskOption,
    output: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER for the answers; a killed batch goes on there.")],
    output_format: Annotated[BatchFormat, typer.Option("--format", help="Of the answers.")] = BatchFormat.jsonl,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the run; exit 1 when it failed.")] = False,
    timeout_s: Annotated[
        float,
        typer.Option(min=1, max=TIMEOUT_S_MAX, callback=check_finite, help="Seconds to wait for the end of the run."),
    ] = 3600.0,
    as_json: JsonFlag = False,
) -> None:
    """Answer a dataset version or files in S3 with the champion, in a pipeline run.

    Example: ratchet run batch-predict digits/v3 --task digits --output s3://ratchet-answers/digits-v3 --wait
    """
    start_by_hand(
        "batch-predict",
        task=task,
        parameters={"task": task, "source": source, "output": output, "output_format": output_format.value},
        timeout_s=timeout_s if wait else None,
        as_json=as_json,
    )
