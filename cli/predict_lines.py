"""The examples of `ratchet predict`: JSON lines or CSV, each with its place, in batches that a request takes."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ratchet.core.errors import DataRejected
from ratchet.core.lines import read_objects
from wire.csv_text import csv_reader
from wire.validation_text import found_text

ROWS_MAX = 64
"""Of one request: 200 mails hold the model's only thread for over a second, the limit of a health check."""
BYTES_MAX = 3 << 20
"""Of the values in one request; the gateway takes 4 MiB."""
NEXT_STEP = 'Write one JSON object per line, as in {"features": [0, 3.5]} or {"inputs": {"distance": 900}}.'


class Example(NamedTuple):
    place: str
    """File and line."""
    example_id: Any
    text: str
    """The features as JSON, without brackets; or the inputs as JSON."""
    width: int
    """Of the features; 0 of named inputs."""
    inputs: Mapping[str, Any]
    """By name; empty of features."""


def parse_examples(lines: Iterable[bytes], *, where: str) -> Iterator[Example]:
    """DataRejected names the first line that is no example, or too long for one request."""
    for place, value in read_objects(lines, where=where, next_step=NEXT_STEP):
        if "inputs" in value:
            yield _typed_example(value["inputs"], value.get("id", _number_in(place)), place=place)
            continue
        features = value.get("features")
        if not isinstance(features, list) or not features:
            raise DataRejected(
                f"{place}: `features` must be a list of numbers, found {found_text(features)}. {NEXT_STEP}"
            )
        for index, number in enumerate(features):
            if isinstance(number, bool) or not isinstance(number, int | float):
                found = found_text(number)
                raise DataRejected(f"{place}: `features[{index}]` must be a number, found {found}. {NEXT_STEP}")
        # JSON in ASCII: its characters are its bytes.
        numbers = json.dumps(features)[1:-1]
        if len(numbers) > BYTES_MAX:
            raise DataRejected(
                f"{place}: the features take {len(numbers):,} bytes; the limit of a request is {BYTES_MAX:,}. "
                "Write the numbers with fewer digits."
            )
        yield Example(place, value.get("id", _number_in(place)), numbers, len(features), {})


def read_csv(lines: Iterable[bytes], *, where: str) -> Iterator[Example]:
    """The header names the inputs, and `id` where there is one; every value is text, an empty one is missing."""
    try:
        # Excel begins a CSV in UTF-8 with a byte-order mark.
        reader = csv_reader(b"".join(lines).decode("utf-8-sig"))
        header: list[str] = next(reader, [])
        # csv reads an empty line as a row without cells.
        for cells in filter(None, reader):
            place = f"{where}, line {reader.line_num}"
            if len(cells) != len(header):
                raise DataRejected(f"{place} has {len(cells)} cells, the header {len(header)}. Correct the file.")
            row = dict(zip(header, cells, strict=True))
            example_id = row.pop("id", None) or str(reader.line_num)
            yield _typed_example({name: cell or None for name, cell in row.items()}, example_id, place=place)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataRejected(f"{where} is not CSV in UTF-8: {error}. Correct the file, or write JSON lines.") from None


def _typed_example(inputs: Any, example_id: Any, *, place: str) -> Example:
    if not isinstance(inputs, dict) or not inputs:
        found = found_text(inputs)
        raise DataRejected(f"{place}: `inputs` must be an object {{name: value}}, found {found}. {NEXT_STEP}")
    text = json.dumps(inputs)
    if len(text) > BYTES_MAX:
        raise DataRejected(f"{place}: the inputs take {len(text):,} bytes; the limit of a request is {BYTES_MAX:,}.")
    return Example(place, example_id, text, 0, inputs)


def _number_in(place: str) -> str:
    return place.rpartition(" ")[2]


def batches_of(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """In order, each within the limits of one request, and all of one batch equally wide."""
    batch: list[Example] = []
    size = 0
    for example in examples:
        is_full = len(batch) == ROWS_MAX or size + len(example.text) > BYTES_MAX
        if batch and (is_full or batch[0].width != example.width):
            yield batch
            batch, size = [], 0
        batch.append(example)
        # With the comma and the blank, or the brackets, around it.
        size += len(example.text) + 2
    if batch:
        yield batch
