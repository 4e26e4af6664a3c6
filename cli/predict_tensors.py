"""Named inputs of examples as tensors of the V2 protocol, by what the model's metadata says of each input. Pure."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cli.predict_lines import Example
from ratchet.core.errors import DataRejected
from wire.printable import listed
from wire.validation_text import found_text

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def tensors_of(
    batch: Sequence[Example], declared: Sequence[Mapping[str, Any]], *, is_csv: bool
) -> list[dict[str, Any]]:
    """One for each input that any example has; a value that is missing is null, and the server says where it must not
    be. is_csv: every value is text. DataRejected names the line of an unknown name, or of a cell of another type."""
    names = [each["name"] for each in declared]
    for example in batch:
        for name in example.inputs:
            if name not in names:
                raise DataRejected(
                    f"{example.place}: there is no input {found_text(name)}; the model takes {listed(names)}."
                )
    given = [each for each in declared if any(example.inputs.get(each["name"]) is not None for example in batch)]
    return [_tensor_of(batch, each, is_csv=is_csv) for each in given]


def _tensor_of(batch: Sequence[Example], declared: Mapping[str, Any], *, is_csv: bool) -> dict[str, Any]:
    name, width = declared["name"], declared["shape"][1:]
    values = [_sent(example.inputs.get(name)) for example in batch]
    if is_csv:
        read = _reader_of(declared)
        values = [_read(each, read, example, name) for each, example in zip(values, batch, strict=True)]
    return {"name": name, "datatype": declared["datatype"], "shape": [len(batch), *width], "data": values}


def _sent(value: Any) -> Any:
    """A tensor has no objects: an image is its base64 text, or its URI."""
    return value["b64"] if isinstance(value, dict) and set(value) == {"b64"} else value


def _reader_of(declared: Mapping[str, Any]) -> tuple[str, Callable[[str], Any]]:
    """What a cell must be, and how it is read."""
    if len(declared["shape"]) > 1:
        return "a list of numbers", json.loads
    if declared["datatype"] == "BOOL":
        return "true or false", lambda text: _BOOLEANS[text.lower()]
    if declared["datatype"] == "BYTES":
        return "a text", str
    return "a finite number", _finite


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _read(value: str | None, reader: tuple[str, Callable[[str], Any]], example: Example, name: str) -> Any:
    expected, read = reader
    if value is None:
        return None
    try:
        return read(value)
    except (ValueError, KeyError, RecursionError):
        found = found_text(value)
        raise DataRejected(f"{example.place}: `{name}` must be {expected}, found {found}.") from None
