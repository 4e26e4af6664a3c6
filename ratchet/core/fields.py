"""A JSON object as one of our values. What is wrong is said of the file's fields, with what each must be. Pure."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ratchet.core.errors import DataRejected
from wire.printable import printable
from wire.validation_text import found_text

Value = TypeVar("Value", bound=BaseModel)


def parse_fields(
    kind: type[Value], value: Mapping[str, Any], *, expected: Mapping[str, str], where: str, next_step: str
) -> Value:
    """A value of `kind`; DataRejected says which field is wrong, what it must be and what was found.

    expected: field to what it must be ("a list of numbers"); `name[]` is an element of the list `name`.
    """
    try:
        return kind.model_validate(dict(value))
    except ValidationError as error:
        raise DataRejected(f"{where}: {explain(error, expected=expected)}. {next_step}") from None


def refuse_unknown(value: Mapping[str, Any], expected: Mapping[str, str], *, where: str, next_step: str) -> None:
    """DataRejected names the first field that is none of `expected`."""
    names = [name for name in expected if not name.endswith("[]")]
    for name in value:
        if name not in names:
            fields = ", ".join(f"`{each}`" for each in names)
            shown = printable(str(name), chars_max=60)
            raise DataRejected(f"{where}: `{shown}` is not a field here; the fields are {fields}. {next_step}")


def explain(error: ValidationError, *, expected: Mapping[str, str]) -> str:
    """The first thing that is wrong: "`features` must be a list of 64 numbers, found an object"."""
    first = error.errors(include_url=False, include_context=False)[0]
    name, *rest = (str(part) for part in first["loc"]) if first["loc"] else ("",)
    if not name:
        return f"expected a JSON object, found {found_text(first['input'])}"
    must = expected.get(f"{name}[]" if rest else name, "something else")
    field = printable(name + "".join(f"[{part}]" for part in rest), chars_max=80)
    if first["type"] == "missing":
        return f"`{field}` is missing; it must be {must}"
    return f"`{field}` must be {must}, found {found_text(first['input'])}"
