"""The answers of a model in the words of the two protocols, by the type of its output. Pure.

category   label BYTES (B,), probability FP64 (B,), scores FP64 (B, K)
tags       the same; a label is a JSON list of names
number     label FP64 (B,)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from ratchet.core.labels.answers import Answers
from ratchet.core.labels.schema import ExampleSchema, NumberOutput, OutputSpec, TagsOutput, VectorInput
from ratchet.serving.tensor_answers import InferAnswer, OutputTensor, RequestedOutput
from ratchet.serving.tensors import DATATYPES, LENGTH_BYTES

LABEL, PROBABILITY, SCORES = "label", "probability", "scores"


def output_names(output: OutputSpec) -> tuple[str, ...]:
    return (LABEL,) if isinstance(output, NumberOutput) else (LABEL, PROBABILITY, SCORES)


def input_types(schema: ExampleSchema) -> list[dict[str, Any]]:
    """For the model's metadata; -1 is any number of instances."""
    return [
        {
            "name": each.name,
            "datatype": DATATYPES[each.type],
            "shape": [-1, each.size] if isinstance(each, VectorInput) else [-1],
        }
        for each in schema.inputs
    ]


def output_types(output: OutputSpec) -> list[dict[str, Any]]:
    """For the model's metadata."""
    if isinstance(output, NumberOutput):
        return [{"name": LABEL, "datatype": "FP64", "shape": [-1]}]
    return [
        {"name": LABEL, "datatype": "BYTES", "shape": [-1]},
        {"name": PROBABILITY, "datatype": "FP64", "shape": [-1]},
        {"name": SCORES, "datatype": "FP64", "shape": [-1, len(output.classes)]},
    ]


def predictions_of(answers: Answers, output: OutputSpec) -> list[dict[str, Any]]:
    """V1: one object an instance."""
    labels = answers.labels.to_pylist()
    probability_B = answers.probability_B
    if probability_B is None:
        return [{LABEL: label} for label in labels]
    predictions = [
        {LABEL: label, PROBABILITY: probability}
        for label, probability in zip(labels, probability_B.tolist(), strict=True)
    ]
    if isinstance(output, TagsOutput) and answers.scores_BK is not None:
        for prediction, scores in zip(predictions, answers.scores_BK.tolist(), strict=True):
            prediction["probabilities"] = dict(zip(output.classes, scores, strict=True))
    return predictions


def tensors_of(answers: Answers, output: OutputSpec) -> dict[str, OutputTensor]:
    """V2: all outputs by name. The classes of `scores` are JSON text: the protocol has no lists as parameters."""
    num, labels = len(answers), answers.labels.to_pylist()
    probability_B, scores_BK = answers.probability_B, answers.scores_BK
    if isinstance(output, NumberOutput) or probability_B is None or scores_BK is None:
        return {LABEL: OutputTensor(LABEL, [num], "FP64", labels)}
    parameters = None
    if isinstance(output, TagsOutput):
        labels = [orjson.dumps(label).decode() for label in labels]
        parameters = {"content_type": "application/json"}
    classes = {"classes": orjson.dumps(list(output.classes)).decode()}
    return {
        LABEL: OutputTensor(LABEL, [num], "BYTES", labels, parameters),
        PROBABILITY: OutputTensor(PROBABILITY, [num], "FP64", probability_B.tolist()),
        SCORES: OutputTensor(SCORES, list(scores_BK.shape), "FP64", np.ravel(scores_BK).tolist(), classes),
    }


def infer_body(answer: InferAnswer, requested: Sequence[RequestedOutput]) -> tuple[bytes, int]:
    """V2: the body and the length of its JSON, which the binary data of outputs follows, where that was asked for.

    An optional field without a value is left out: the protocol knows no null.
    """
    outputs, tails = [], []
    for output, asked in zip(answer.outputs, requested, strict=True):
        fields: dict[str, Any] = {"name": output.name, "shape": output.shape, "datatype": output.datatype}
        parameters: dict[str, Any] = dict(output.parameters or {})
        if asked.is_binary:
            tails.append(binary_of(output))
            parameters["binary_data_size"] = len(tails[-1])
        else:
            fields["data"] = output.data
        outputs.append(fields | ({"parameters": parameters} if parameters else {}))
    document = {"id": answer.id, "model_name": answer.model_name, "outputs": outputs, "parameters": answer.parameters}
    head = orjson.dumps(document)
    return b"".join((head, *tails)), len(head)


def binary_of(output: OutputTensor) -> bytes:
    """Its data as the binary extension has it: FP64 little endian; texts with their lengths before them."""
    if output.datatype != "BYTES":
        return np.asarray(output.data, dtype="<f8").tobytes()
    texts = [text.encode() for text in output.data]
    return b"".join(part for text in texts for part in (len(text).to_bytes(LENGTH_BYTES, "little"), text))
