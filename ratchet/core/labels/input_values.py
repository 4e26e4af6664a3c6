"""One value that a person gave for an input or as a label, checked: what the error says is its text. Pure.

Nothing here is fast. Whole files are checked by column (`opinions.py`); this says what is wrong with one line.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, AwareDatetime, TypeAdapter, ValidationError

from ratchet.core.labels.schema import (
    CATEGORY_CHARS_MAX,
    BooleanInput,
    CategoryInput,
    DatetimeInput,
    ExampleSchema,
    ImageInput,
    InputSpec,
    NumberInput,
    NumberOutput,
    TagsOutput,
    TextInput,
    VectorInput,
)
from ratchet.core.labels.shards import check_years, is_encodable
from wire.printable import listed, printable
from wire.validation_text import found_text

MOMENT = "a time with its zone from 1900 to 2200, such as 2026-01-31T09:00:00Z"
_AT = TypeAdapter(Annotated[AwareDatetime, AfterValidator(check_years)])
_PICTURE = 'an `s3://` URI or {"b64": "…"}'
_NAMED_MAX = 20


class WrongValue(ValueError):
    """What is wrong with a value: "`features[3]` must be a finite number, found null"."""


class GivenImage(NamedTuple):
    """An image that nobody has looked at yet: where it is, or its bytes."""

    uri: str
    data: bytes


def input_values(given: Mapping[str, Any], schema: ExampleSchema, *, is_short: bool = False) -> dict[str, Any]:
    """Of each input its value as it is stored, None where it is missing; an image is a `GivenImage`.

    is_short: they came as `features`. WrongValue names the field.
    """
    known = [each.name for each in schema.inputs]
    for name in given:
        if name not in known:
            shown = printable(str(name), chars_max=60)
            raise WrongValue(f"`inputs.{shown}` is not an input of the task; its inputs are {listed_names(known)}")
    values = {}
    for each in schema.inputs:
        field = "features" if is_short else f"inputs.{each.name}"
        value = given.get(each.name)
        if value is None and not each.optional:
            how = "is missing" if each.name not in given else "must not be null"
            raise WrongValue(f"`{field}` {how}; it must be {expected_of(each)}")
        values[each.name] = None if value is None else _value(value, each, field)
    return values


def label_value(value: Any, schema: ExampleSchema) -> Any:
    """The label as it is stored; WrongValue says what it must be."""
    output = schema.output
    if isinstance(output, NumberOutput):
        return _in_range(_number(value, "label", "a number"), output.range, "label")
    if isinstance(output, TagsOutput):
        if not isinstance(value, list):
            raise WrongValue(f"`label` must be a list of texts, found {found_text(value)}")
        for place, tag in enumerate(value):
            _one_of(_text(tag, f"label[{place}]", "a text: the name of a tag"), output.classes, f"label[{place}]")
        given = frozenset(value)
        return [tag for tag in output.classes if tag in given]
    return _one_of(_text(value, "label", "a text: the name of a class, in quotes"), output.classes, "label")


def expected_of(declared: InputSpec) -> str:
    """What a value of an input must be."""
    match declared:
        case NumberInput():
            return "a finite number"
        case CategoryInput():
            return f"a text of 1 to {CATEGORY_CHARS_MAX:,} characters"
        case BooleanInput():
            return "true or false"
        case DatetimeInput():
            return MOMENT
        case TextInput():
            return f"a text of at most {declared.chars_max:,} characters"
        case ImageInput():
            return f"a picture: {_PICTURE}"
        case VectorInput():
            return f"a list of {declared.size} numbers"


def listed_names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(f"`{name}`" for name in names[:_NAMED_MAX]) + more


def _value(value: Any, declared: InputSpec, field: str) -> Any:
    expected = expected_of(declared)
    match declared:
        case NumberInput():
            return _in_range(_number(value, field, expected), declared.range, field)
        case CategoryInput():
            text = _sized(_text(value, field, expected), field, expected, 1, CATEGORY_CHARS_MAX)
            return _one_of(text, declared.values, field) if declared.values else text
        case BooleanInput():
            if not isinstance(value, bool):
                raise WrongValue(f"`{field}` must be {expected}, found {found_text(value)}")
            return value
        case DatetimeInput():
            return _moment(value, field, expected)
        case TextInput():
            return _sized(_text(value, field, expected), field, expected, 0, declared.chars_max)
        case ImageInput():
            return _picture(value, field, expected)
        case VectorInput():
            return _vector(value, declared, field)


def _vector(value: Any, declared: VectorInput, field: str) -> list[float]:
    if not isinstance(value, list | tuple):
        raise WrongValue(f"`{field}` must be {expected_of(declared)}, found {found_text(value)}")
    numbers = [_number(each, f"{field}[{place}]", "a finite number") for place, each in enumerate(value)]
    if len(numbers) != declared.size:
        raise WrongValue(f"`{field}` must be {expected_of(declared)}, found {len(numbers)}")
    return [_in_range(each, declared.range, f"{field}[{place}]") for place, each in enumerate(numbers)]


def _number(value: Any, field: str, expected: str) -> float:
    """`true` and "3" are none; an integer that no float holds is none either."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if isfinite(number):
            return number
    raise WrongValue(f"`{field}` must be {expected}, found {found_text(value)}")


def _in_range(value: float, limits: tuple[float, float], field: str) -> float:
    low, high = limits
    if not low <= value <= high:
        raise WrongValue(f"`{field}` is {value:g}, expected {range_text(low, high)}")
    return value


def range_text(low: float, high: float) -> str:
    if high == float("inf"):
        return f"at least {low:g}"
    return f"at most {high:g}" if low == float("-inf") else f"{low:g} to {high:g}"


def _text(value: Any, field: str, expected: str) -> str:
    if isinstance(value, str) and is_encodable(value):
        return value
    raise WrongValue(f"`{field}` must be {expected}, found {found_text(value)}")


def _sized(text: str, field: str, expected: str, least: int, most: int) -> str:
    if not least <= len(text) <= most:
        raise WrongValue(f"`{field}` must be {expected}, found {len(text):,} characters")
    return text


def _one_of(text: str, names: tuple[str, ...], field: str) -> str:
    if text not in names:
        raise WrongValue(f"`{field}` must be one of {listed(names)}, found {found_text(text)}")
    return text


def _moment(value: Any, field: str, expected: str) -> datetime:
    """As text, or as a time with its zone from a Parquet file; a number of seconds or milliseconds would be a guess."""
    try:
        if isinstance(value, str | datetime):
            return _AT.validate_python(value).astimezone(UTC)
    except (ValidationError, OverflowError):
        pass
    raise WrongValue(f"`{field}` must be {expected}, found {found_text(value)}")


def _picture(value: Any, field: str, expected: str) -> GivenImage:
    if isinstance(value, str) and value.startswith("s3://") and is_encodable(value):
        return GivenImage(value, b"")
    if isinstance(value, bytes):
        return GivenImage("", value)
    if isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str):
        try:
            return GivenImage("", base64.b64decode(value["b64"], validate=True))
        except (binascii.Error, ValueError):
            raise WrongValue(f"`{field}.b64` must be base64, found {found_text(value['b64'])}") from None
    raise WrongValue(f"`{field}` must be {expected}, found {found_text(value)}")
