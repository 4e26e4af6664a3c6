"""`ratchet predict`: ask the model that serves, through the gateway as users do."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cli.names import TaskOption
from cli.output import JsonFlag, print_rows
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.lines import read_objects
from wire.validation_text import found_text

if TYPE_CHECKING:
    from ratchet.adapters.http import HttpClient

_ROWS_MAX = 64
_BYTES_MAX = 3 << 20
"""Of the numbers in one request; the gateway takes 4 MiB."""
_DEADLINE_S = 20.0
_NEXT_STEP = 'Write one JSON object per line, as in {"features": [0, 3.5]}.'
_INSTANCE = re.compile(r"instances\[(\d+)\]")


class Example(NamedTuple):
    place: str
    """File and line."""
    example_id: Any
    numbers: str
    """The features as JSON, without brackets."""
    width: int


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    task: TaskOption,
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(help="JSON lines with `features`, like label files; - is stdin.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Ask the served model for predictions: one JSON line per example, with `features` and an optional `id`.

    Many examples are sent in several requests; the answers keep their order. --json adds the probabilities of all
    classes (`scores`), the model's digest, and what `ratchet feedback push` needs: `request_id` and `instance`.

    Example: echo '{"features": [0, 0, 5]}' | ratchet predict - --task digits
    """
    from ratchet import wiring

    http = _gateway_of(wiring.settings())
    name = "stdin" if file.name in {"-", "<stdin>"} else file.name
    rows = [row for batch in batches_of(parse_examples(file, where=name)) for row in _ask(http, batch, task=task)]
    columns = ("id", "label", "probability", "revision")
    print_rows(rows, columns=columns, as_json=as_json, empty=f"{name} holds no example.")


def _gateway_of(settings: Any) -> "HttpClient":
    from ratchet.adapters.http import HttpClient, Peer

    settings.require("gateway_endpoint")
    peer = Peer(
        name="The gateway",
        next_step="`ratchet status` shows what runs, `ratchet up` starts it.",
        endpoint="RATCHET_GATEWAY_ENDPOINT",
    )
    return HttpClient(settings.gateway_endpoint, peer=peer, deadline_s=_DEADLINE_S)


def parse_examples(lines: Iterable[bytes], *, where: str) -> Iterator[Example]:
    """DataRejected names the first line that is no example, or too long for one request."""
    for place, value in read_objects(lines, where=where, next_step=_NEXT_STEP):
        features = value.get("features")
        if not isinstance(features, list) or not features:
            raise DataRejected(
                f"{place}: `features` must be a list of numbers, found {found_text(features)}. {_NEXT_STEP}"
            )
        for index, number in enumerate(features):
            if isinstance(number, bool) or not isinstance(number, int | float):
                found = found_text(number)
                raise DataRejected(f"{place}: `features[{index}]` must be a number, found {found}. {_NEXT_STEP}")
        numbers = json.dumps(features)[1:-1]
        if len(numbers) > _BYTES_MAX:
            raise DataRejected(
                f"{place}: the features take {len(numbers):,} bytes; the limit of a request is {_BYTES_MAX:,}. "
                "Write the numbers with fewer digits."
            )
        number_of_line = place.rpartition(" ")[2]
        yield Example(place, value.get("id", number_of_line), numbers, len(features))


def batches_of(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """In order, each within the limits of one request, and all of one batch equally wide."""
    batch: list[Example] = []
    size = 0
    for example in examples:
        is_full = len(batch) == _ROWS_MAX or size + len(example.numbers) > _BYTES_MAX
        if batch and (is_full or batch[0].width != example.width):
            yield batch
            batch, size = [], 0
        batch.append(example)
        size += len(example.numbers) + 2
    if batch:
        yield batch


def _ask(http: "HttpClient", batch: Sequence[Example], *, task: str) -> list[dict[str, Any]]:
    from ratchet.adapters.http import Request
    from ratchet.adapters.http_errors import said_in

    shape = f"[{len(batch)}, {batch[0].width}]"
    data = ", ".join(example.numbers for example in batch)
    tensor = f'{{"name": "features", "shape": {shape}, "datatype": "FP64", "data": [{data}]}}'
    headers = {"content-type": "application/json"}
    # Not repeatable: each request that a model answers is evidence about it.
    request = Request("POST", f"/v2/models/{task}/infer", content=f'{{"inputs": [{tensor}]}}', headers=headers)
    response = http.send(request)
    if response.status == 404:
        raise NotFound(
            f"{response.where}: no model of {task} serves yet. `ratchet run retrain --task {task}` trains one."
        )
    if response.status in {400, 413, 422}:
        raise DataRejected(f"{_place_in(response.text, batch)}: {said_in(response.body, chars_max=500)}")
    if not response.is_success:
        raise http.error_of(response)
    headers_found = {name: response.headers.get(f"x-{name}", "") for name in ("request-id", "ratchet-revision")}
    return rows_of(
        response.json(), batch, request_id=headers_found["request-id"], revision=headers_found["ratchet-revision"]
    )


def rows_of(answer: Any, batch: Sequence[Example], *, request_id: str, revision: str) -> list[dict[str, Any]]:
    """One row an example, in their order."""
    outputs = {output["name"]: output for output in answer["outputs"]}
    scores = _scores_of(outputs.get("scores"), num_rows=len(batch))
    return [
        {
            "id": example.example_id,
            "label": label,
            "probability": probability,
            "scores": row_scores,
            "request_id": request_id,
            "instance": instance,
            "model_digest": (answer.get("parameters") or {}).get("model_digest", ""),
            "revision": revision,
        }
        for instance, (example, label, probability, row_scores) in enumerate(
            zip(batch, outputs["label"]["data"], outputs["probability"]["data"], scores, strict=True)
        )
    ]


def _scores_of(output: Any, *, num_rows: int) -> list[dict[str, float] | None]:
    """Class to probability of each row; None of a server that does not tell them."""
    if output is None:
        return [None] * num_rows
    classes, data = json.loads(output["parameters"]["classes"]), output["data"]
    return [
        dict(zip(classes, data[row * len(classes) : (row + 1) * len(classes)], strict=True)) for row in range(num_rows)
    ]


def _place_in(answer: str, batch: Sequence[Example]) -> str:
    """The line that the server's reason is about; of a reason about the whole request the first."""
    found = _INSTANCE.search(answer)
    return batch[min(int(found[1]), len(batch) - 1)].place if found else batch[0].place
