"""What the champion answers about candidates: asked through the gateway, as users ask, in batches."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ratchet.adapters.http import HttpClient, Request
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.queueing import margins_of
from ratchet.core.labels.schema import ExampleSchema, NumberOutput, TagsOutput, VectorInput

BATCH_ROWS = 64
BATCH_BYTES_MAX = 3 << 20
"""Of the inputs in one request; the gateway takes 4 MiB."""
_DATATYPES = {"number": "FP64", "vector": "FP64", "boolean": "BOOL"}
"""By type of the input; all others are BYTES."""


class ChampionAnswer(NamedTuple):
    label: Any
    uncertainty: float
    """0..1, larger is less sure; NaN of a number."""
    probability: float | None
    model: str


def ask_champion(
    http: HttpClient, examples: Iterable[Mapping[str, Any]], schema: ExampleSchema, *, task: str
) -> Iterator[ChampionAnswer | None]:
    """One answer an example, in their order; None of one that the model server refuses. Raises Unavailable, and
    NotFound when no model serves."""
    for batch in _batches(examples):
        yield from _ask(http, batch, schema, task=task)


def _batches(examples: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    size = 0
    for example in examples:
        num_bytes = len(json.dumps(example))
        if batch and (len(batch) == BATCH_ROWS or size + num_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(example)
        size += num_bytes
    if batch:
        yield batch


def _ask(
    http: HttpClient, batch: Sequence[Mapping[str, Any]], schema: ExampleSchema, *, task: str
) -> list[ChampionAnswer | None]:
    content = json.dumps(render_infer(batch, schema))
    headers = {"content-type": "application/json"}
    response = http.send(Request("POST", f"/v2/models/{task}/infer", content=content, headers=headers))
    if response.status == 404:
        raise NotFound(
            f"{response.where}: no model of {task} serves yet. `--strategy coverage` or `random` does without; "
            f"`ratchet run retrain --task {task}` trains one."
        )
    if response.status in {400, 413, 422}:  # one bad example refuses the whole request: halve it until it is found
        if len(batch) == 1:
            return [None]
        half = len(batch) // 2
        return _ask(http, batch[:half], schema, task=task) + _ask(http, batch[half:], schema, task=task)
    if not response.is_success:
        raise http.error_of(response)
    try:
        return list(answers_in(response.json(), schema, num=len(batch)))
    except (KeyError, TypeError, ValueError, IndexError):
        raise DataRejected(
            f"{response.where}: the answer is not one of the Open Inference Protocol. `ratchet predict` shows it."
        ) from None


def render_infer(batch: Sequence[Mapping[str, Any]], schema: ExampleSchema) -> dict[str, Any]:
    """The body of a V2 request: one tensor an input."""
    tensors = []
    for each in schema.inputs:
        width = [each.size] if isinstance(each, VectorInput) else []
        values = [example.get(each.name) for example in batch]
        is_flat = isinstance(each, VectorInput) and all(isinstance(value, list) for value in values)
        tensors.append(
            {
                "name": each.name,
                "shape": [len(batch), *width],
                "datatype": _DATATYPES.get(each.type, "BYTES"),
                "data": [number for value in values for number in value or ()] if is_flat else values,
            }
        )
    return {"inputs": tensors}


def answers_in(answer: Any, schema: ExampleSchema, *, num: int) -> Iterator[ChampionAnswer]:
    """The margin where the scores of all classes are there, else what the probability lacks to 1."""
    outputs = {output["name"]: output for output in answer["outputs"]}
    model = (answer.get("parameters") or {}).get("model_digest", "")
    labels, probabilities = outputs["label"]["data"], outputs.get("probability", {}).get("data")
    scores = outputs.get("scores", {}).get("data")
    is_category = not isinstance(schema.output, NumberOutput | TagsOutput)
    margins = margins_of(np.array(scores).reshape(num, -1)) if is_category and scores is not None else None
    for row in range(num):
        label = json.loads(labels[row]) if isinstance(schema.output, TagsOutput) else labels[row]
        probability = float(probabilities[row]) if probabilities is not None else None
        uncertainty = float("nan") if probability is None else 1.0 - probability
        if margins is not None:
            uncertainty = float(margins[row])
        yield ChampionAnswer(label, uncertainty, probability, model)
