"""`ratchet predict`: ask the model that serves, through the gateway as users do."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.names import TaskOption
from cli.output import JsonFlag, print_rows
from cli.predict_batch import BatchFormat, open_binary, predict_to
from cli.predict_lines import Example, batches_of, parse_examples, read_csv
from cli.predict_tensors import tensors_of
from ratchet.core.errors import DataRejected, NotFound

if TYPE_CHECKING:
    from ratchet.adapters.http import HttpClient

_DEADLINE_S = 20.0
"""Longer than the gateway's own 15 s for a request: its answer says more than that nobody answered."""
_INSTANCE = re.compile(r"instances\[(\d+)\]")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    task: TaskOption,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="JSON lines with `inputs` or `features`, like label files, or a .csv file; - is stdin. With --batch "
            "also a folder, s3://BUCKET/PREFIX or a dataset version; JSON lines, Parquet or pictures.",
        ),
    ],
    as_csv: Annotated[bool, typer.Option("--csv", help="The file is CSV, whatever its name.")] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="Load the champion here and write into --output, without the gateway.")
    ] = False,
    output: Annotated[str, typer.Option(help="With --batch: a folder, or s3://BUCKET/FOLDER, for the answers.")] = "",
    output_format: Annotated[
        BatchFormat, typer.Option("--format", help="With --batch: of the answers.")
    ] = BatchFormat.jsonl,
    as_json: JsonFlag = False,
) -> None:
    """Ask the served model for predictions: one JSON line per example, with `inputs` by name, or the `features` of a
    single vector, and an optional `id`. Of CSV the header names the inputs.

    Many examples are sent in several requests; the answers keep their order. --json adds the probabilities of all
    classes (`scores`), the model's digest, and what `ratchet feedback push` needs: `request_id` and `instance`.

    Example: echo '{"features": [0, 0, 5]}' | ratchet predict - --task digits

    Example: echo '{"inputs": {"carrier": "AA", "distance": 900}}' | ratchet predict - --task flights

    Example: ratchet predict flights.csv --task flights

    --batch answers any number of rows and goes on where it was killed. Rows without an answer go into errors-*.jsonl.

    Example: ratchet predict flights/v3 --task flights --batch --output answers
    """
    from ratchet import wiring

    if batch or output:
        predict_to(output, source, task=task, output_format=output_format, is_batch=batch, as_json=as_json)
        return
    file = open_binary(source)
    http = gateway_of(wiring.settings())
    name = "stdin" if source == "-" else source
    is_csv = as_csv or name.endswith(".csv")
    examples = read_csv(file, where=name) if is_csv else parse_examples(file, where=name)
    declared = Declared(http, task)
    rows = [
        row for batch in batches_of(examples) for row in _ask(http, batch, task=task, declared=declared, is_csv=is_csv)
    ]
    columns = ("id", "label", "probability", "revision")
    print_rows(rows, columns=columns, as_json=as_json, empty=f"{name} holds no example.")


def gateway_of(settings: Any) -> "HttpClient":
    from ratchet.adapters.gateway import gateway_client

    return gateway_client(settings, deadline_s=_DEADLINE_S)


class Declared:
    """What the served model takes, asked for when the first named input needs it."""

    def __init__(self, http: "HttpClient", task: str) -> None:
        self._http, self._task = http, task
        self._inputs: Sequence[Mapping[str, Any]] | None = None

    def inputs(self) -> Sequence[Mapping[str, Any]]:
        """Name, datatype and shape of each, as the model's metadata has them."""
        if self._inputs is None:
            from ratchet.adapters.http import Request

            response = self._http.send(Request("GET", f"/v2/models/{self._task}"))
            if response.status == 404:
                raise _no_model(response.where, self._task)
            if not response.is_success:
                raise self._http.error_of(response)
            self._inputs = response.json()["inputs"]
        return self._inputs


def _no_model(where: str, task: str) -> NotFound:
    return NotFound(f"{where}: no model of {task} serves yet. `ratchet run retrain --task {task}` trains one.")


def _tensors_of(batch: Sequence[Example], declared: Declared, *, is_csv: bool) -> str:
    """All of the batch as JSON."""
    if batch[0].inputs:
        return json.dumps(tensors_of(batch, declared.inputs(), is_csv=is_csv))
    shape = f"[{len(batch)}, {batch[0].width}]"
    data = ", ".join(example.text for example in batch)
    return f'[{{"name": "features", "shape": {shape}, "datatype": "FP64", "data": [{data}]}}]'


def _ask(
    http: "HttpClient", batch: Sequence[Example], *, task: str, declared: Declared, is_csv: bool
) -> list[dict[str, Any]]:
    from ratchet.adapters.http import Request
    from ratchet.adapters.http_errors import said_in

    content = f'{{"inputs": {_tensors_of(batch, declared, is_csv=is_csv)}}}'
    headers = {"content-type": "application/json"}
    # Not repeatable: each request that a model answers is evidence about it.
    request = Request("POST", f"/v2/models/{task}/infer", content=content, headers=headers)
    response = http.send(request)
    if response.status == 404:
        raise _no_model(response.where, task)
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
    labels = outputs["label"]["data"]
    if (outputs["label"].get("parameters") or {}).get("content_type") == "application/json":
        labels = [json.loads(label) for label in labels]  # tags
    probabilities = outputs["probability"]["data"] if "probability" in outputs else [None] * len(batch)
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
            zip(batch, labels, probabilities, scores, strict=True)
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
