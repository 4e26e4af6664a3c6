"""Values that flow between tasks: JSON parameters, artifacts, and how one is taken out of another."""

import hashlib
import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.engine.definitions import ParameterDefinition, ParameterType
from embedded.control_plane.engine.go_text import parse_json, parse_text, plain_of, text_of
from embedded.control_plane.errors import DataRejected

_SELECTOR = re.compile(r"""parseJson\(string_value\)((?:\["[^"]+"\])*)""")


class Artifact(BaseModel):
    """One artifact as the executor sees it. `id` is its identity for the cache, whatever its content."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    type: dict[str, str]
    uri: str
    """A local path, or the address that an importer was given."""
    metadata: dict[str, Any] = {}

    def as_wire(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "uri": self.uri, "metadata": self.metadata}


class Values(BaseModel):
    """Inputs or outputs of one task. An artifact input may be a list, so each is a tuple."""

    model_config = ConfigDict(frozen=True)

    parameters: dict[str, Any] = {}
    artifacts: dict[str, tuple[Artifact, ...]] = {}


def digest_of(value: Any) -> str:
    """64 hex digits that name a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def select(value: Any, selector: str) -> Any:
    """The part of a value that a `parameterExpressionSelector` names: a key of a loop's item.

    Source: kubeflow/pipelines, backend/src/v2/expression/expression.go, Select: the value as text, which must be JSON.
    """
    keys = check_selector(selector)
    try:
        selected = plain_of(parse_json(text_of(value)))
    except (ValueError, RecursionError):
        raise DataRejected(f"{text_of(value)[:80]!r} is not JSON, so nothing can be selected from it.") from None
    for key in keys:
        if not isinstance(selected, dict) or key not in selected:
            raise DataRejected(f"the item {text_of(value)[:200]} has no {key!r} (selector {selector}).")
        selected = selected[key]
    if selected is None:
        raise DataRejected(f"the item {text_of(value)[:200]} has null (None) there: {selector} selects no value.")
    return selected


def check_selector(selector: str) -> list[str]:
    """The keys of a selector; DataRejected when it is not one that the compiler writes."""
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise DataRejected(f"the selector {selector!r} is not supported by this backend.")
    return re.findall(r'\["([^"]+)"\]', match[1])


def conform(value: Any, definition: ParameterDefinition, *, where: str, is_lenient: bool = False) -> Any:
    """The value as its declared type has it; DataRejected names `where` when it is none. None is JSON's null.

    Anything may be taken as text; nothing else is converted. is_lenient: text is read as the declared type, too.
    Source: kubeflow/pipelines, backend/src/v2/driver/resolve.go, handleParamTypeValidationAndConversion.
    """
    wanted = definition.parameter_type
    value = plain_of(value)
    if wanted is ParameterType.STRING:
        return text_of(value)
    if is_lenient and isinstance(value, str):
        value = _read(value, wanted, where=where)
    if value is None:
        raise DataRejected(f"{where}: it is null (None), and its type {wanted.value} has no such value.")
    if not isinstance(value, _KINDS[wanted]) or (isinstance(value, bool) and wanted is not ParameterType.BOOLEAN):
        raise DataRejected(
            f"{where}: expected {wanted.value}, got {_kind_of(value)} {text_of(value)[:80]!r}. "
            "A cluster converts to STRING only; give the component an input of the type of the value."
        )
    return value


def _read(text: str, wanted: ParameterType, *, where: str) -> Any:
    try:
        return parse_text(text, wanted)
    except DataRejected as error:
        raise DataRejected(f"{where}: expected {wanted.value}: {error}") from None


def check_literals(value: Any, definition: ParameterDefinition, *, where: str) -> None:
    """DataRejected when the definition allows certain values only, and this is none of them."""
    if definition.literals and not any(_is_same(value, literal) for literal in definition.literals):
        raise DataRejected(f"{where}: {value!r} is not one of {list(definition.literals)}.")


def _is_same(value: Any, literal: Any) -> bool:
    value, literal = plain_of(value), plain_of(literal)
    # In Python True == 1; in JSON they are two values.
    return isinstance(value, bool) is isinstance(literal, bool) and bool(value == literal)


def _kind_of(value: Any) -> str:
    """Its type in the words of the specification."""
    return next(kind.value for kind, types in _KINDS.items() if isinstance(value, types))


_KINDS: dict[ParameterType, tuple[type, ...]] = {
    ParameterType.STRING: (str,),
    # Before the numbers: in Python a bool is an int, and the first match names the kind.
    ParameterType.BOOLEAN: (bool,),
    ParameterType.NUMBER_INTEGER: (int, float),
    ParameterType.NUMBER_DOUBLE: (int, float),
    ParameterType.LIST: (list,),
    ParameterType.STRUCT: (dict,),
    ParameterType.TASK_FINAL_STATUS: (dict,),
}
"""A cluster knows one kind of number: 1.5 is taken for an integer, too, as there."""
