"""A task file proposed from a sample of label lines, with each assumption said. Pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import TEXT_CHARS_MAX, InputType

CATEGORY_NAMES_MAX = 200
"""More distinct texts than this are text."""
_REPEATED_MIN = 3.0
"""How often each name of a category appears on average; texts that hardly repeat are text."""
_CATEGORY_CHARS_MAX = 64
_IMAGE_SIDE = 32
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_TEXT_ENCODER = (
    "add `encoder: minilm` for English texts with few labels: the extra `text` is installed here, and is needed "
    "wherever models are trained"
)
_NEXT_STEP = "Give the lines of one task, as `ratchet labels push` takes them."


class Proposal(NamedTuple):
    """A task, and what was assumed of it."""

    task: Mapping[str, Any]
    """As the file says it: name, inputs, output, model."""
    assumptions: Mapping[str, str]
    """By the name of an input, `output` or `model`, in words."""


def propose_task(
    name: str, rows: Sequence[Mapping[str, Any]], *, where: str, has_text_encoder: bool = False
) -> Proposal:
    """A task that these label lines fit. DataRejected when they have nothing to learn, or contradict each other.

    has_text_encoder: whether the extra `text` is installed. It is mentioned, and never part of the task by itself.
    """
    if not rows:
        raise DataRejected(f"{where}: no label lines in it. {_NEXT_STEP}")
    inputs, assumptions = _inputs_of(rows, where=where)
    output, assumptions["output"] = _output_of([row.get("label") for row in rows], where=where)
    kind, assumptions["model"] = _kind_of([each["type"] for each in inputs])
    if kind == "text" and has_text_encoder:
        assumptions["model"] += f"; {_TEXT_ENCODER}"
    task = {"name": name, "inputs": inputs, "output": output, "model": {"kind": kind}}
    return Proposal(task, assumptions)


def _inputs_of(rows: Sequence[Mapping[str, Any]], *, where: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    given = [row["inputs"] if isinstance(row.get("inputs"), dict) else _short_form(row) for row in rows]
    names = list(dict.fromkeys(name for values in given for name in values))
    if not names:
        raise DataRejected(f"{where}: no line has `inputs` or `features`. {_NEXT_STEP}")
    inputs, assumptions = [], {}
    for name in names:
        values = [value for row in given if (value := row.get(name)) is not None]
        declared, why = _input_of(values, where=f"{where}: input {name!r}")
        if len(values) < len(rows):
            declared["optional"] = True
            why += f"; missing in {len(rows) - len(values)} of {len(rows)} lines"
        inputs.append({"name": name, **declared})
        assumptions[name] = why
    return inputs, assumptions


def _short_form(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"features": row["features"]} if "features" in row else {}


def _input_of(values: Sequence[Any], *, where: str) -> tuple[dict[str, Any], str]:
    """What an input is declared as, and why."""
    if not values:
        return _declared("text"), "null in every line, so text is a guess"
    if all(isinstance(value, bool) for value in values):
        return _declared("boolean"), "true or false in every line"
    if all(_is_number(value) for value in values):
        return _declared("number"), f"numbers from {min(values):g} to {max(values):g}; no limits are set"
    if all(isinstance(value, list) for value in values):
        return _vector_of(values, where=where)
    if all(_is_image(value) for value in values):
        size = {"width": _IMAGE_SIDE, "height": _IMAGE_SIDE, "channels": 3}
        return {**_declared("image"), **size}, f"pictures; {_IMAGE_SIDE} x {_IMAGE_SIDE} pixels in colour is a guess"
    if all(isinstance(value, str) for value in values):
        return _text_of(values)
    kinds = sorted({type(value).__name__ for value in values})
    raise DataRejected(f"{where} is of several types ({', '.join(kinds)}). {_NEXT_STEP}")


def _vector_of(values: Sequence[Any], *, where: str) -> tuple[dict[str, Any], str]:
    sizes = sorted({len(value) for value in values})
    if len(sizes) > 1 or not sizes[0] or not all(_is_number(each) for value in values for each in value):
        raise DataRejected(
            f"{where} must be a list of numbers of one length; found the lengths {sizes[:5]}. {_NEXT_STEP}"
        )
    return {**_declared("vector"), "size": sizes[0]}, f"lists of {sizes[0]} numbers; no limits are set"


def _text_of(values: Sequence[str]) -> tuple[dict[str, Any], str]:
    if all(_is_time(value) for value in values):
        return _declared("datetime"), "times with a zone in every line"
    names, longest = len(set(values)), max(map(len, values))
    is_category = names <= CATEGORY_NAMES_MAX and longest <= _CATEGORY_CHARS_MAX
    if is_category and len(values) / names >= _REPEATED_MIN:
        return _declared("category"), f"{names} different names in {len(values)} lines"
    why = f"{names} different texts in {len(values)} lines, the longest of {longest} characters"
    return {**_declared("text"), **({"chars_max": longest * 2} if longest > TEXT_CHARS_MAX else {})}, why


def _output_of(labels: Sequence[Any], *, where: str) -> tuple[dict[str, Any], str]:
    if all(_is_number(label) for label in labels):
        return {"type": "number"}, f"numbers from {min(labels):g} to {max(labels):g}; no limits are set"
    if all(isinstance(label, str) and label for label in labels):
        return _classes("category", labels, where=where)
    if all(isinstance(label, list) and all(isinstance(tag, str) and tag for tag in label) for label in labels):
        return _classes("tags", [tag for label in labels for tag in label], where=where)
    raise DataRejected(
        f"{where}: `label` must be a text, a number or a list of texts, one of them in all lines. {_NEXT_STEP}"
    )


def _classes(kind: str, names: Sequence[str], *, where: str) -> tuple[dict[str, Any], str]:
    classes = sorted(set(names))
    if len(classes) < 2:
        raise DataRejected(f"{where}: every label is {classes[0] if classes else 'empty'!r}; a task needs two classes.")
    return {"type": kind, "classes": classes}, f"the {len(classes)} classes of the sample; add those that it lacks"


def _kind_of(types: Sequence[InputType]) -> tuple[str, str]:
    if set(types) == {"text"}:
        return "text", "all inputs are text"
    if list(types) == ["image"]:
        return "image", "the only input is a picture"
    if list(types) == ["vector"]:
        return "vector", "the only input is a vector"
    return "tabular", "a table of several inputs; `trees` is the other kind for it"


def _declared(kind: InputType) -> dict[str, Any]:
    return {"type": kind}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_image(value: Any) -> bool:
    if isinstance(value, dict):
        return set(value) == {"b64"}
    return isinstance(value, str) and value.startswith("s3://") and value.lower().endswith(_IMAGE_ENDINGS)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
