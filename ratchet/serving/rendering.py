"""The answers of a model in the words of the two protocols, by the type of its output. Pure.

category   label BYTES (B,), probability FP64 (B,), scores FP64 (B, K)
tags       the same; a label is a JSON list of names
number     label FP64 (B,)
"""

from typing import Any

import numpy as np
import orjson
from kserve import InferOutput

from ratchet.core.labels.answers import Answers
from ratchet.core.labels.schema import ExampleSchema, NumberOutput, OutputSpec, TagsOutput, VectorInput
from ratchet.serving.tensors import DATATYPES

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


def tensors_of(answers: Answers, output: OutputSpec) -> list[InferOutput]:
    """V2: all outputs. The classes of `scores` are JSON text: the protocol has no lists as parameters."""
    num, labels = len(answers), answers.labels.to_pylist()
    probability_B, scores_BK = answers.probability_B, answers.scores_BK
    if isinstance(output, NumberOutput) or probability_B is None or scores_BK is None:
        return [InferOutput(LABEL, [num], "FP64", data=labels)]
    parameters = None
    if isinstance(output, TagsOutput):
        labels = [orjson.dumps(label).decode() for label in labels]
        parameters = {"content_type": "application/json"}
    classes = {"classes": orjson.dumps(list(output.classes)).decode()}
    return [
        InferOutput(LABEL, [num], "BYTES", data=labels, parameters=parameters),
        InferOutput(PROBABILITY, [num], "FP64", data=probability_B.tolist()),
        InferOutput(SCORES, list(scores_BK.shape), "FP64", np.ravel(scores_BK).tolist(), classes),
    ]
