"""A model of typed inputs for tests of what stands on `ServableModel`: it answers by rule, without a network."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from ratchet.core.labels.answers import Answers, answers_of
from ratchet.tasks.spec import TaskSpec

INPUTS: list[dict[str, Any]] = [
    {"name": "carrier", "type": "category", "values": ["AA", "UA"]},
    {"name": "distance", "type": "number", "min": 0, "max": 5000},
    {"name": "night", "type": "boolean"},
    {"name": "when", "type": "datetime"},
    {"name": "remark", "type": "text", "optional": True, "chars_max": 5000},
    {"name": "delay", "type": "number", "optional": True},
    {"name": "photo", "type": "image", "width": 4, "height": 3, "channels": 1, "optional": True},
    {"name": "track", "type": "vector", "size": 2, "optional": True},
]
CATEGORY = {"name": "late", "type": "category", "classes": ["no", "yes"]}
NUMBER = {"name": "minutes", "type": "number", "tolerance": 1.0}
TAGS = {"name": "topics", "type": "tags", "classes": ["far", "night", "long, dark"]}
ROW: dict[str, Any] = {"carrier": "AA", "distance": 900, "night": False, "when": "2026-01-31T09:00:00+01:00"}
BREAKS = 4_999.0
"""A distance that this model fails on; so it does on any distance that is out of the task's range by a factor of 10."""


def spec_of(output: dict[str, Any] = CATEGORY, inputs: list[dict[str, Any]] = INPUTS) -> TaskSpec:
    fields = {"name": "flights", "inputs": inputs, "output": output, "model": {"kind": "tests.unit:None"}}
    return TaskSpec.model_validate(fields)


class RuleModel:
    """As `ServableModel`: how far a flight goes decides everything."""

    digest = "d" * 64

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        self.asked: list[pa.Table] = []

    def answer(self, inputs: pa.Table) -> Answers:
        assert inputs.column_names == [each.name for each in self.spec.inputs]
        self.asked.append(inputs)
        distance_B = inputs["distance"].to_numpy()
        if (distance_B == BREAKS).any() or (np.abs(distance_B) >= 50_000).any():
            raise ValueError("too far")
        share_B = np.clip(distance_B / 5000, 0, 1)
        if self.spec.output.type == "number":
            return answers_of(distance_B / 10, self.spec.output)
        if self.spec.output.type == "category":
            return answers_of(np.stack([1 - share_B, share_B], axis=1), self.spec.output)
        is_night_B = np.asarray(pc.fill_null(inputs["night"], False))
        return answers_of(np.stack([share_B, is_night_B * 0.9, is_night_B * share_B], axis=1), self.spec.output)


def png(width: int = 4, height: int = 3, *, value: int = 7, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), value).save(file, kind)
    return file.getvalue()
