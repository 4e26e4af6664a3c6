"""From the fields of a labelling tool to the fields of a label line. Pure.

Values are only brought into the form that label lines have (a cell's text to a number, say): whether a value is right
is for the parser of label lines to say, in its own words.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ratchet.core.labels.formats.items import ImportOptions, ToolOpinion, WrongItem
from ratchet.core.labels.queue_marks import QUEUE_MARK
from ratchet.core.labels.schema import (
    BooleanInput,
    ImageInput,
    InputSpec,
    NumberInput,
    NumberOutput,
    OutputSpec,
    TagsOutput,
    TextInput,
    VectorInput,
)
from wire.printable import listed
from wire.validation_text import found_text

EXAMPLE_ID = "example_id"
"""The field of an example's id in the files of `ratchet labels queue`: tools have an `id` of their own."""
TAGS_SEPARATOR = "|"
"""Between the tags in one cell of a table."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MS_FROM = 100_000_000_000
"""From which number on a time counts milliseconds: in seconds it would be the year 5138."""
_YES, _NO = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def column_of(target: str, options: ImportOptions) -> str | None:
    """The tool's field that `--map` gives this target."""
    return next((column for column, to in options.columns.items() if to in {target, f"inputs.{target}"}), None)


def named(fields: Mapping[str, Any], target: str, options: ImportOptions, *others: str) -> Any:
    """The value of the mapped field, else of the first that is there of `target` and `others`; None: none is."""
    mapped = column_of(target, options)
    names = (mapped,) if mapped is not None else (target, *others)
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def inputs_of(fields: Mapping[str, Any], options: ImportOptions, *, main: str = "") -> dict[str, Any]:
    """The task's inputs among the tool's fields, by `--map`, then by name; what is missing is left out.

    main: the tool's field of the thing that it shows, which stands for the only input of its type by any name.
    """
    inputs = options.schema.inputs
    found = {}
    for each in inputs:
        column = column_of(each.name, options)
        names = (column,) if column is not None else (f"inputs.{each.name}", each.name)
        name = next((name for name in names if name in fields), None)
        if name is None and column is None and main in fields and _is_shown(each, inputs):
            name = main
        if name is not None and fields[name] is not None:
            value = input_value(fields[name], each, options)
            if value is not None:
                found[each.name] = value
    return found


def line_of(
    inputs: Mapping[str, Any],
    options: ImportOptions,
    *,
    place: str,
    id: Any,
    label: Any,
    labeler: str,
    at: str,
    corrects: Any = None,
    mark: Any = None,
) -> ToolOpinion:
    """A label line; a single vector in its short form. `corrects` is left out where it is not told, or false.

    mark: the tool's field `queue_mark`, if it kept one.
    """
    short = options.schema.short_input
    if short is not None and short.name in inputs:
        shown: dict[str, Any] = {"features": inputs[short.name]}
    else:
        shown = {} if short is not None else {"inputs": dict(inputs)}
    told = {"id": text_of(id), **shown, "label": label, "labeler": labeler, "labeled_at": at}
    if corrects is not None and corrects is not False:
        told["corrects"] = corrects
    if mark not in (None, ""):
        told[QUEUE_MARK] = mark
    return ToolOpinion(place, told)


def corrects_of(fields: Mapping[str, Any], options: ImportOptions) -> Any:
    """Whether a row says that its label puts another one right: a boolean, None where it does not say, and anything
    else as it is."""
    is_input = any(each.name == "corrects" for each in options.schema.inputs)
    value = None if is_input and column_of("corrects", options) is None else named(fields, "corrects", options)
    return True if is_yes(value) else False if str(value).strip().lower() in _NO else value


def is_yes(value: Any) -> bool:
    """Of a tool's checkbox: true, or a text that says so."""
    return str(value).strip().lower() in _YES


def input_value(value: Any, declared: InputSpec, options: ImportOptions) -> Any:
    """A tool's value in the form of a label line; what cannot be read so stays as it is. None: it is missing."""
    if isinstance(declared, ImageInput):
        return image_of(value, options)
    if not isinstance(value, str):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_text = declared.type in {"text", "category"}
        return text_of(value) if is_number and is_text else _moment(value, declared)
    if isinstance(declared, TextInput):
        return value
    text = value.strip()
    if not text:
        return None
    match declared:
        case NumberInput():
            return _number_of(text)
        case BooleanInput():
            return True if text.lower() in _YES else False if text.lower() in _NO else value
        case VectorInput():
            return _list_of(text)
    return _moment(text, declared)


def label_of(values: Sequence[Any], output: OutputSpec) -> Any:
    """One label of what the tool has for an example; None when it has nothing. WrongItem: more than the task takes."""
    given = [value for value in values if value not in (None, "")]
    nested = next((value for value in given if isinstance(value, list | Mapping)), None)
    if nested is not None:
        raise WrongItem(f"its label is {found_text(nested)}; a text or a number is expected")
    if isinstance(output, TagsOutput):
        return list(dict.fromkeys(text_of(value) for value in given)) if values else None
    if not given:
        return None
    if isinstance(output, NumberOutput):
        numbers = list(dict.fromkeys(_number_of(value) if isinstance(value, str) else value for value in given))
        if len(numbers) > 1:
            raise WrongItem(f"{len(numbers)} numbers where the task takes one")
        return numbers[0]
    names = list(dict.fromkeys(text_of(value) for value in given))
    if len(names) > 1:
        raise WrongItem(f"{len(names)} labels ({listed(names, num_max=4)}) where the task takes one class")
    return names[0]


def cell_labels(cell: Any, output: OutputSpec) -> list[Any] | None:
    """What a cell of a table or a flat field holds: one label, a JSON list, Label Studio's `{"choices": […]}`, or tags
    with `|` between them. None: nothing."""
    if isinstance(cell, Mapping):
        cell = cell.get("choices")
    if cell is None or isinstance(cell, list):
        return cell
    if not isinstance(cell, str):
        return [cell]
    text = cell.strip()
    if not text:
        return None
    if text[0] in "[{":
        value = _json_of(text)
        if isinstance(value, Mapping) and isinstance(value.get("choices"), list):
            value = value["choices"]
        if isinstance(value, list):
            return value
    if isinstance(output, TagsOutput) and text not in output.classes:
        return [tag.strip() for tag in text.split(TAGS_SEPARATOR) if tag.strip()]
    return [text]


def labeler_of(value: Any, options: ImportOptions, *, prefix: str = "") -> str:
    """Who labelled: a name or an address, else the tool's number with `prefix`, else `--labeler`."""
    if isinstance(value, Mapping):
        value = next((value[name] for name in ("email", "username", "id") if value.get(name) not in (None, "")), None)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{prefix}{value}"
    if isinstance(value, str) and value.strip():
        return value
    if not options.labeler:
        raise WrongItem("the file does not name the annotator; `--labeler NAME` does")
    return options.labeler


def moment_of(value: Any, options: ImportOptions) -> Any:
    """A tool's time as label lines have it; one without a zone is read as UTC, a number as seconds or milliseconds
    since 1970. What is no time stays as it is."""
    if value in (None, ""):
        return options.at
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            at = datetime.fromtimestamp(value / 1000 if value >= _MS_FROM else value, UTC)
        elif isinstance(value, datetime):
            at = value
        else:
            at = datetime.fromisoformat(str(value).strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return value


def image_of(value: Any, options: ImportOptions) -> Any:
    """A picture as label lines have it: an `s3://` URI, `{"b64": …}`, or the file's name behind `--images`."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if not isinstance(value, str):
        return value
    if value.startswith("s3://"):
        return value
    if value.startswith("data:"):
        head, comma, body = value.partition(",")
        if comma and head.endswith(";base64"):
            return {"b64": body}
        raise WrongItem("the picture is a data URI without base64")
    name = _file_name(value)
    if not options.images:
        raise WrongItem(f"the picture is {found_text(value)}; `--images s3://BUCKET/FOLDER/` says where it lies")
    return f"{options.images.rstrip('/')}/{name}"


def text_of(value: Any) -> Any:
    """A number as the text of an id or a class; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_shown(each: InputSpec, inputs: Iterable[InputSpec]) -> bool:
    return each.type in {"text", "image"} and sum(other.type == each.type for other in inputs) == 1


def _file_name(value: str) -> str:
    """Below the folder of the pictures: a relative path as it is, of a URL or a path of the tool's server its end."""
    path = value
    if _URL.match(value) or value.startswith("/"):
        path = re.split(r"[?#]", value, maxsplit=1)[0].rpartition("/")[2]
    if not path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise WrongItem(f"the name of the picture, {found_text(value)}, leads out of the folder of `--images`")
    return path


def _moment(value: Any, declared: InputSpec) -> Any:
    """A datetime of a Parquet file as text."""
    if declared.type == "datetime" and isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")
    return value


def _number_of(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if number - number == 0.0 else text


def _list_of(text: str) -> Any:
    value = _json_of(text)
    return value if isinstance(value, list) else text


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
