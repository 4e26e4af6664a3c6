"""Values that flow between tasks: JSON parameters, artifacts, and how one is taken out of another."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.engine.spec import ParameterDefinition, ParameterType
from ratchet.core.errors import DataRejected

_SELECTOR = re.compile(r"""parseJson\(string_value\)((?:\["[^"]+"\])*)""")
_LARGEST_PLAIN_INTEGER = 1e21
"""Go's JSON writes whole numbers below this without an exponent, as the real backend does."""


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


def text_of(value: Any) -> str:
    """A parameter as text, as the real backend writes it into strings: JSON, but text without quotes."""
    if isinstance(value, str):
        return value
    return json.dumps(plain_of(value), separators=(",", ":"), ensure_ascii=False)


def plain_of(value: Any) -> Any:
    """The value with whole floats as integers: compiled YAML says 3.0 where the author wrote 3."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_PLAIN_INTEGER:
        return int(value)
    if isinstance(value, dict):
        return {key: plain_of(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain_of(inner) for inner in value]
    return value


def digest_of(value: Any) -> str:
    """64 hex digits that name a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def select(value: Any, selector: str) -> Any:
    """The part of a value that a `parameterExpressionSelector` names: a key of a loop's item."""
    keys = check_selector(selector)
    selected = json.loads(value) if isinstance(value, str) else value
    for key in keys:
        if not isinstance(selected, Mapping) or key not in selected:
            raise DataRejected(f"the item {text_of(value)} has no {key!r} (selector {selector}).")
        selected = selected[key]
    return selected


def check_selector(selector: str) -> list[str]:
    """The keys of a selector; DataRejected when it is not one that the compiler writes."""
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise DataRejected(f"the selector {selector!r} is not supported by this backend.")
    return re.findall(r'\["([^"]+)"\]', match[1])


def conform(value: Any, definition: ParameterDefinition, *, where: str, parse_text: bool = False) -> Any:
    """The value as its declared type has it; DataRejected names `where` when it is none.

    As in the real backend anything may be taken as text. `parse_text` reads numbers and the like from text too: the
    command line sends everything as text.
    """
    wanted = definition.parameter_type
    value = plain_of(value)
    if wanted is ParameterType.STRING:
        value = text_of(value)
    elif parse_text and isinstance(value, str):
        value = _parsed(value)
    if wanted is ParameterType.NUMBER_DOUBLE and _is_number(value):
        value = float(value)
    if not _is_of(value, wanted):
        raise DataRejected(f"{where}: expected {wanted.value}, got {text_of(value)[:80]!r}.")
    if definition.literals and value not in [plain_of(literal) for literal in definition.literals]:
        raise DataRejected(f"{where}: {value!r} is not one of {list(definition.literals)}.")
    return value


def _parsed(text: str) -> Any:
    try:
        return plain_of(json.loads(text.lower() if text in ("True", "False") else text))
    except ValueError:
        return text


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_of(value: Any, wanted: ParameterType) -> bool:
    if wanted is ParameterType.STRING:
        return isinstance(value, str)
    if wanted is ParameterType.BOOLEAN:
        return isinstance(value, bool)
    if wanted is ParameterType.NUMBER_INTEGER:
        return isinstance(value, int) and not isinstance(value, bool)
    if wanted is ParameterType.NUMBER_DOUBLE:
        return _is_number(value)
    return isinstance(value, list if wanted is ParameterType.LIST else dict)
