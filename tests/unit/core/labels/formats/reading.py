"""Tasks to import for, and what a reader makes of a file."""

import json
from typing import Any

from ratchet.core.labels.formats.items import ImportOptions, LeftOut, ToolOpinion
from ratchet.core.labels.formats.registry import READERS
from ratchet.core.labels.schema import (
    BooleanInput,
    CategoryOutput,
    DatetimeInput,
    ExampleSchema,
    ImageInput,
    NumberInput,
    NumberOutput,
    TagsOutput,
    TextInput,
    VectorInput,
)

AT = "2026-01-01T00:00:00Z"
MOOD = CategoryOutput(name="mood", classes=("good", "bad"))
MAILS = ExampleSchema(inputs=(TextInput(name="text"),), output=MOOD)
STARS = ExampleSchema(inputs=(TextInput(name="text"),), output=NumberOutput(name="stars"))
TOPICS = ExampleSchema(
    inputs=(TextInput(name="body"),), output=TagsOutput(name="topics", classes=("art", "war", "law"))
)
PETS = ExampleSchema(
    inputs=(ImageInput(name="picture", width=8, height=8),), output=CategoryOutput(name="pet", classes=("cat", "dog"))
)
SEEN = ExampleSchema(inputs=PETS.inputs, output=TagsOutput(name="seen", classes=("cat", "dog", "cow")))
FLIGHTS = ExampleSchema(
    inputs=(
        NumberInput(name="miles"),
        BooleanInput(name="night"),
        DatetimeInput(name="start", optional=True),
        VectorInput(name="shape", size=2, optional=True),
    ),
    output=CategoryOutput(name="late", classes=("no", "yes")),
)
DIGITS = ExampleSchema(inputs=(VectorInput(name="features", size=2),), output=CategoryOutput(classes=("0", "1")))


def options_for(schema: ExampleSchema, **given: Any) -> ImportOptions:
    return ImportOptions(schema=schema, at=AT, **given)


def read(
    name: str, file: object, schema: ExampleSchema, **given: Any
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """(label lines, (why, reason) of what is left out) of a file: bytes, text, or what is written as JSON."""
    data = file if isinstance(file, bytes) else file.encode() if isinstance(file, str) else json.dumps(file).encode()
    items = list(READERS[name](data, options_for(schema, **given)))
    lines = [item.line for item in items if isinstance(item, ToolOpinion)]
    return lines, [(item.why, item.text) for item in items if isinstance(item, LeftOut)]
