"""What is wrong with a value that a person wrote, in plain English: the field, what is expected, what was found. Pure.

pydantic's own texts ("Input should be a valid tuple") speak of Python, and leave out what was there.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from wire.printable import printable

_FOUND_LENGTH = 60
_NUM_NAMED = 12
"""So many known fields are listed; a model with more of them is looked up in its documentation."""
_TAG = re.compile(
    r"(constrained|function|lax-or-strict|json-or-python|nullable|list|dict|tuple|literal|set|model)[-\[].*"
)
"""How pydantic names the alternatives of a union within the place of an error."""
_MISPLACED = {"missing", "extra_forbidden"}
"""Errors whose last part of the place is not in the value, or is the fault itself."""


def validation_text(
    error: ValidationError, *, value: Any = None, whole: str = "the file", kind: type[BaseModel] | None = None
) -> str:
    """The first thing wrong: "`training.num_epochs` must be a whole number, found 'many'".

    value: what was validated, if it is at hand: tells the fields of a place from pydantic's names of alternatives.
    whole: what to call the value itself. kind: the model, for "Did you mean".
    """
    place, details = first_problem(error, value=value)
    known = tuple(kind.model_fields) if kind is not None and len(place) == 1 else ()
    return problem_text(details, subject=f"`{place_text(place)}`" if place else whole, known=known)


def first_problem(error: ValidationError, *, value: Any = None) -> tuple[tuple[str | int, ...], Mapping[str, Any]]:
    """The place of the first error and its details as pydantic has them.

    Of the alternatives of a union the one that got furthest tells most.
    """
    found = [(_place_of(each, value), each) for each in error.errors(include_url=False)]
    first = found[0][0]
    same = [each for each in found if each[0][: len(first)] == first]
    place, details = max(same, key=lambda each: len(each[0]))
    return place, details


def place_text(place: tuple[str | int, ...]) -> str:
    """`schedules[0].cron`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return printable(text)


def problem_text(details: Mapping[str, Any], *, subject: str, known: Collection[str] = ()) -> str:
    """One sentence without its full stop."""
    kind, context = str(details["type"]), details.get("ctx") or {}
    if kind == "missing":
        return f"{subject} is missing"
    if kind == "extra_forbidden":
        return f"{subject} is not a known field{_hint(str(details['loc'][-1]), known)}"
    if kind in {"value_error", "assertion_error"}:
        return f"{subject}: {printable(str(context.get('error') or details['msg']))}"
    if kind == "json_invalid":
        return f"{subject} is not JSON: {printable(str(context.get('error', 'it cannot be read')))}"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{subject}: {printable(str(details['msg']))}, found {found_text(details['input'])}"
    wanted = expected(context) if callable(expected) else expected
    return f"{subject} must be {wanted}, found {found_text(details['input'])}"


def found_text(value: Any) -> str:
    """What was there: `'abc'`, `3.5`, `true`, `null`, `a list of 3`, `an object`. Short, and printable anywhere."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple | set | frozenset):
        return f"a list of {len(value)}"
    # CPython refuses to write out an int of more than 4,300 digits (ValueError).
    if isinstance(value, int) and value.bit_length() > 512:
        return "a number of more than 150 digits"
    if isinstance(value, str):
        value = value[: 2 * _FOUND_LENGTH]
    text = repr(value) if isinstance(value, str | int | float) else str(value)
    return printable(text if len(text) <= _FOUND_LENGTH else f"{text[:_FOUND_LENGTH]}…")


def _place_of(details: Mapping[str, Any], value: Any) -> tuple[str | int, ...]:
    parts = list(details["loc"])
    if value is None:
        return tuple(part for part in parts if isinstance(part, int) or not _TAG.fullmatch(part))
    place: list[str | int] = []
    for index, part in enumerate(parts):
        is_index = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if is_index or (isinstance(value, Mapping) and part in value):
            value = value[part]
        elif index < len(parts) - 1 or details["type"] not in _MISPLACED:
            continue  # the name of an alternative
        place.append(part)
    return tuple(place)


def _hint(name: str, known: Collection[str]) -> str:
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean `{close[0]}`?"
    return f"; known: {', '.join(sorted(known))}" if 0 < len(known) <= _NUM_NAMED else ""


def _bound(limit: Any) -> str:
    return str(int(limit)) if isinstance(limit, float) and limit.is_integer() else str(limit)


def _quoted(values: str) -> str:
    """`'a', 'b' or 'c'`, as pydantic joins the values of a Literal or an Enum."""
    return f"one of {values.replace(' or ', ', ')}"


def _counted(context: Mapping[str, Any]) -> str:
    least, most = context.get("min_length"), context.get("max_length")
    return f"of at least {least}" if least is not None else f"of at most {most}"


_WHOLE, _NUMBER, _TEXT = "a whole number", "a number", "text"
_OBJECT, _LIST = "an object (`field: value`)", "a list"
_MOMENT = "a time such as 2026-01-31T12:00:00Z"
_EXPECTED: dict[str, str | Callable[[Mapping[str, Any]], str]] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _WHOLE),
    "int_parsing_size": "a whole number of 64 bits",
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), _NUMBER),
    "finite_number": "a finite number",
    "greater_than": lambda context: f"greater than {_bound(context['gt'])}",
    "greater_than_equal": lambda context: f"at least {_bound(context['ge'])}",
    "less_than": lambda context: f"less than {_bound(context['lt'])}",
    "less_than_equal": lambda context: f"at most {_bound(context['le'])}",
    "multiple_of": lambda context: f"a multiple of {context['multiple_of']}",
    "string_type": _TEXT,
    "string_unicode": "text of valid Unicode",
    "string_too_short": lambda context: f"text {_counted(context)} characters",
    "string_too_long": lambda context: f"text {_counted(context)} characters",
    "string_pattern_mismatch": lambda context: f"text that matches {context['pattern']}",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "mapping_type"), _OBJECT),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), _LIST),
    "too_short": lambda context: f"a list or an object {_counted(context)} entries",
    "too_long": lambda context: f"a list or an object {_counted(context)} entries",
    "literal_error": lambda context: _quoted(str(context["expected"])),
    "enum": lambda context: _quoted(str(context["expected"])),
    "union_tag_invalid": lambda context: _quoted(str(context["expected_tags"])),
    **dict.fromkeys(("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_aware"), _MOMENT),
    **dict.fromkeys(("date_type", "date_parsing", "date_from_datetime_parsing"), "a date such as 2026-01-31"),
    **dict.fromkeys(("time_type", "time_parsing"), "a time of day such as 22:00"),
    "none_required": "null",
    "json_type": "JSON text",
    "recursion_loop": "a value that does not contain itself",
}
