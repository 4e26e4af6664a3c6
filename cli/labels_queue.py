"""`ratchet labels queue`: what to label next, as a file that labelling tools import."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.limits import HOURS_MAX, check_finite
from cli.names import TaskOption
from cli.output import JsonFlag, print_json, stderr, stdout
from ratchet.core.errors import DataRejected, Unavailable
from wire.printable import printable

if TYPE_CHECKING:
    from ratchet.actions.labels.queueing import Candidate, Queue
    from ratchet.core.labels.schema import ExampleSchema

SIZE_MAX = 20_000


def add_to(labels: typer.Typer) -> None:
    """Add the command to the group `labels`."""
    labels.command("queue")(queue)


def queue(
    task: TaskOption,
    source: Annotated[str, typer.Option("--from", help="JSON lines with `id` and `inputs`, or: payloads.")],
    size: Annotated[int, typer.Option(min=1, max=SIZE_MAX, help="Examples in the queue.")] = 100,
    strategy: Annotated[str, typer.Option(help="auto, margin, disagreement, coverage or random.")] = "auto",
    format_name: Annotated[
        str, typer.Option("--format", help="jsonl, label-studio, doccano, argilla or csv.")
    ] = "jsonl",
    out: Annotated[Path | None, typer.Option(help="File to write. Default: standard output.")] = None,
    hours: Annotated[
        float, typer.Option(min=0.01, max=HOURS_MAX, callback=check_finite, help="Of `payloads`: hours to look back.")
    ] = 24.0,
    answers: Annotated[
        bool, typer.Option("--answers/--no-answers", help="Show the answers of the champion, or queue without them.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Another seed draws another random share.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Choose what to label next, and write it as a file that a labelling tool imports.

    The champion is asked about each candidate; those it is least sure of come first, spread over the inputs. 10 % of
    the queue are drawn at random (`audit`), so that accuracy on them is unbiased. The champion's answers are
    pre-annotations, but 10 % of the queue have none (`blind`). An example that has a label is not queued, unless its
    opinions are tied: then it is queued to be labelled again.

    Example: ratchet labels queue --task mails --from new.jsonl --size 200 --format label-studio --out queue.json
    """
    from cli.predict import gateway_of
    from ratchet import wiring
    from ratchet.actions.labels.labelled import list_labelled
    from ratchet.actions.labels.queueing import PAYLOADS, make_queue
    from ratchet.core.labels.formats.queue_files import WRITERS, label_config
    from ratchet.core.labels.queueing import STRATEGIES

    schema = wiring.task_spec(task).examples
    chosen = next((each for each in STRATEGIES if each == strategy), None)
    if chosen is None:
        known = ", ".join(STRATEGIES)
        raise DataRejected(f"There is no strategy {printable(strategy, chars_max=40)!r}; known: {known}.")
    if format_name not in WRITERS:
        known = ", ".join(WRITERS)
        raise DataRejected(f"There is no format {printable(format_name, chars_max=40)!r} to write; known: {known}.")
    if format_name == "doccano" and not any(schema.of_type("text")):
        raise DataRejected(
            f"doccano shows texts, and task {task} has no input of type text. Choose another `--format`."
        )
    candidates = _candidates(source, schema, task=task, hours=hours)
    labelled = list_labelled(wiring.label_stores(), schema, task=task)
    http = gateway_of(wiring.settings()) if answers and source != PAYLOADS else None
    try:
        made = make_queue(candidates, labelled, schema, size=size, strategy=chosen, seed=seed, http=http, task=task)
    except Unavailable as error:
        raise Unavailable(f"{error} `--strategy random --no-answers` queues without a champion.") from None
    data = b"".join(WRITERS[format_name](made.items, schema))
    if out is not None:
        _write(out, data)
    told = _render(made, task=task, format_name=format_name, out=out)
    if format_name == "label-studio":
        told["label_config"] = label_config(schema)
    if as_json:
        print_json(told)
    elif out is None:
        typer.echo(data, nl=False)
    _tell(told, num_left=labelled.num_shards_left, to_stdout=out is not None and not as_json)


def _candidates(source: str, schema: "ExampleSchema", *, task: str, hours: float) -> "list[Candidate]":
    from ratchet import wiring
    from ratchet.actions.labels.queueing import PAYLOADS, read_candidates, read_payloads

    if source == PAYLOADS:
        return read_payloads(wiring.payload_log(), schema, task=task, since=datetime.now(UTC) - timedelta(hours=hours))
    return read_candidates(Path(source), schema)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: an import of half a queue would look like all of it."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataRejected(f"{path}: {error.strerror}. Name a file that can be written.") from None


def _render(made: "Queue", *, task: str, format_name: str, out: Path | None) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "task": task,
        "format": format_name,
        "file": None if out is None else str(out),
        "num_items": len(made.items),
        "num_by_reason": dict(sorted(Counter(item.reason for item in made.items).items())),
        "num_blind": sum(item.is_blind for item in made.items),
        "num_candidates": made.num_candidates,
        "num_labelled": made.num_labelled,
        "num_asked": made.num_asked,
        "num_refused": made.num_refused,
        "items": [
            {"id": item.id, "reason": item.reason, "blind": item.is_blind, "champion": item.label}
            for item in made.items
        ],
    }


def _tell(told: dict[str, Any], *, num_left: int, to_stdout: bool) -> None:
    console = stdout if to_stdout else stderr
    reasons = ", ".join(f"{num} {reason}" for reason, num in told["num_by_reason"].items())
    where = f" as {told['file']}" if told["file"] else ""
    console.print(
        f"{told['num_items']:,} of {told['num_candidates']:,} candidates of {told['task']} queued{where}: {reasons}; "
        f"{told['num_blind']} blind",
        markup=False,
    )
    if all(item["champion"] is None for item in told["items"]):
        stderr.print("no champion was asked: no example shows an answer", markup=False)
    if told["num_labelled"]:
        stderr.print(f"{told['num_labelled']:,} candidates have a label already and are left out", markup=False)
    if told["num_refused"]:
        stderr.print(
            f"{told['num_refused']:,} candidates are left out: the model server refused their inputs. "
            "`ratchet predict` with such a line shows why.",
            markup=False,
        )
    if num_left:
        stderr.print(f"{num_left:,} older label shards were not read for tied opinions", markup=False)
