"""`ratchet feedback`: true labels of requests that were answered, and how often the models were right."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.limits import HOURS_MAX, check_finite
from cli.names import TaskOption
from cli.output import JsonFlag, print_json, print_rows, stderr, stdout

if TYPE_CHECKING:
    from ratchet.core.labels.schema import OutputSpec
    from ratchet.core.rollout.payloads import Feedback

CONFIDENCE = 0.95


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    feedback = typer.Typer(help="True labels of answered requests: push them, show the accuracy.",
                           no_args_is_help=True)  # fmt: skip
    feedback.command("push")(push)
    feedback.command("show")(show)
    app.add_typer(feedback, name="feedback")


def push(
    file: Annotated[Path, typer.Argument(help="JSONL file, one true label per line.")],
    task: TaskOption,
    as_json: JsonFlag = False,
) -> None:
    """Push the true labels of answered requests. Every line is checked first.

    A line: {"request_id": "<x-request-id of the answer>", "instance": 0, "label": "4"}. Of a number the label is the
    number, of tags a list: ["sport", "politics"].

    Example: ratchet feedback push truth.jsonl --task digits
    """
    from ratchet import wiring
    from ratchet.actions.rollout.feedback import accept_feedback

    items = read_feedback_file(file, output=wiring.output_in_use().of(task))
    num_kept = sum(accept_feedback(wiring.feedback_store(), task, part) for part in _parts_of(items))
    if as_json:
        print_json({"task": task, "num_feedback": num_kept})
    else:
        stdout.print(f"{num_kept} labels of answers of {task} kept", markup=False)


def show(
    task: TaskOption,
    hours: Annotated[
        float, typer.Option(min=0.01, max=HOURS_MAX, callback=check_finite, help="Hours to look back.")
    ] = 24.0,
    as_json: JsonFlag = False,
) -> None:
    """Show the accuracy of each model, with a 95 % interval, on the logged requests that have feedback.

    Example: ratchet feedback show --task digits --hours 48
    """
    from ratchet import wiring
    from ratchet.actions.models.classes import tolerance_of
    from ratchet.actions.rollout.feedback import measure_accuracy

    output = wiring.task_spec(task).output
    since = datetime.now(UTC) - timedelta(hours=hours)
    tolerance = tolerance_of(output)
    joined = measure_accuracy(wiring.payload_log(), wiring.feedback_store(), task, since=since, tolerance=tolerance)
    rows = rows_of(joined)
    if as_json:
        print_json({"models": rows, "num_feedback": joined.num_feedback, "num_unmatched": joined.num_unmatched})
        return
    columns = ("model", "num_known", "num_right", "accuracy", "at_least", "at_most")
    print_rows(rows, columns=columns, as_json=False, empty=f"No feedback on a logged request in the last {hours:g} h.")
    if output.type == "number" and tolerance is None and joined.num_feedback:
        stderr.print(
            f"Which answers of {task} were right is unknown: its output is a number without `tolerance`. Set it in the "
            "task's file to say how far an answer may lie from the label.",
            markup=False,
        )
    if joined.num_unmatched:
        stderr.print(
            f"{joined.num_unmatched} of {joined.num_feedback} labels match no logged request: the request was not "
            f"sampled (RATCHET_PAYLOAD_SAMPLE_RATIO), is older, or has another id.",
            markup=False,
        )


def rows_of(joined: Any) -> list[dict[str, Any]]:
    """One row a model, the best known first."""
    from ratchet.core.rollout.feedback import accuracy_interval

    rows = []
    for digest, accuracy in sorted(joined.by_model.items(), key=lambda pair: -pair[1].num_known):
        low, high = accuracy_interval(accuracy, confidence=CONFIDENCE)
        rows.append(
            {"model": digest, **accuracy.model_dump(), "accuracy": accuracy.ratio, "at_least": low, "at_most": high}
        )
    return rows


def read_feedback_file(path: Path, *, output: "OutputSpec") -> "Sequence[Feedback]":
    """Every line of the file; DataRejected names the first that is wrong."""
    from ratchet.core.errors import DataRejected, NotFound
    from ratchet.core.rollout.feedback import parse_feedback_lines

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist. Name a file of JSON lines.") from None
    except OSError as error:
        raise DataRejected(f"{path}: {error.strerror}. Name a readable file of JSON lines.") from None
    return parse_feedback_lines(data, output=output, now=datetime.now(UTC), where=str(path))


def _parts_of(items: "Sequence[Feedback]") -> "Iterator[Sequence[Feedback]]":
    from ratchet.core.rollout.feedback import ITEMS_MAX

    return (items[start : start + ITEMS_MAX] for start in range(0, len(items), ITEMS_MAX))
