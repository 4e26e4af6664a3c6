"""JSON values that every reader can take: checked where they enter, mended where they are stored.

Half a surrogate pair, NaN and deep nesting pass through Python's json and break what comes later: SQLite's columns,
every answer that shows them, a recursion without an end. Pure.
"""

import json
import math
from typing import Any

from pydantic import BaseModel

from embedded.control_plane.errors import DataRejected
from wire.printable import printable
from wire.strict_json import DEPTH_MAX, DIGITS_MAX, NotJson, parse_json

VALUES_MAX = 100_000
"""Of one request or pipeline; kfp's own samples have under 5,000."""
_DEPTH_KEPT_MAX = DEPTH_MAX + 32
"""What is stored wraps what came in; an answer wraps it once more. Python's own limit is about 300."""
_SUSPECTS = ("\\ud", "\\uD", "NaN", "Infinity")
"""One of these is in the JSON text of a value that is not sound, unless it is nested too deep."""


def read_json(data: bytes, *, what: str) -> Any:
    """The value that a caller sent; DataRejected says what is wrong with it."""
    try:
        value = parse_json(data)
    except NotJson as error:
        raise DataRejected(f"{what}: {error}. Correct it and send it again.") from None
    check_sound(value, where=what)
    return value


def check_sound(value: Any, *, where: str) -> None:
    """DataRejected for what JSON does not have, or too much of it: names the first such thing."""
    todo: list[tuple[Any, int]] = [(value, 0)]
    num_values = 0
    while todo:
        node, depth = todo.pop()
        num_values += 1
        if num_values > VALUES_MAX:
            raise DataRejected(
                f"{where}: it has more than {VALUES_MAX:,} values. Split it, or remove its YAML aliases."
            )
        if isinstance(node, dict | list | tuple):
            if depth >= DEPTH_MAX:
                raise DataRejected(f"{where}: it is nested deeper than {DEPTH_MAX} levels. Flatten it.")
            if isinstance(node, dict):
                for key in node:
                    _check_key(key, where=where)
            todo += [(child, depth + 1) for child in (node.values() if isinstance(node, dict) else node)]
        else:
            _check_scalar(node, where=where)


def check_text(text: str, *, where: str) -> None:
    """DataRejected when UTF-8 cannot hold the text."""
    if not _is_unicode(text):
        raise DataRejected(f"{where}: '{printable(text, chars_max=60)}' has half of a surrogate pair: no character.")


def _check_key(key: Any, *, where: str) -> None:
    if not isinstance(key, str):
        raise DataRejected(f"{where}: the key {str(key)[:60]!r} is not text. Put it in quotes.")
    check_text(key, where=f"{where}: a key")


def _check_scalar(value: Any, *, where: str) -> None:
    if isinstance(value, str):
        check_text(value, where=where)
    elif isinstance(value, int):
        if not isinstance(value, bool) and abs(value) >= 10**DIGITS_MAX:
            raise DataRejected(f"{where}: a number has more than {DIGITS_MAX} digits; a float holds up to 1.8e308.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise DataRejected(f"{where}: {value} is no number that JSON has. Use a finite one.")
    elif value is not None:
        raise DataRejected(f"{where}: a {type(value).__name__} ({str(value)[:60]}) is not JSON. Put it in quotes.")


def sound(value: Any, depth: int = 0) -> Any:
    """The value with U+FFFD for half of a surrogate pair, null for NaN and infinity and for what is nested too deep."""
    if isinstance(value, str):
        # Through UTF-16, in which two halves side by side become the character that they mean.
        return value if _is_unicode(value) else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list | tuple) and depth >= _DEPTH_KEPT_MAX:
        return None
    if isinstance(value, dict):
        return {sound(key, depth): sound(child, depth + 1) for key, child in value.items()}
    return [sound(child, depth + 1) for child in value] if isinstance(value, list | tuple) else value


def dumps_sound(value: Any) -> str:
    """The JSON text of a value, mended where it has to be; never an exception for a value of JSON's types."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps(sound(value))
    return text if not _is_suspect(text) else json.dumps(sound(value))


def loads_sound(text: str) -> Any:
    """The value of a JSON text that was stored, mended where it has to be."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # SQLite takes more for JSON than Python does
        return None
    return sound(value) if _is_suspect(text) or _may_be_deep(text) else value


def json_of_model(model: BaseModel) -> str:
    """Like `dumps_sound`."""
    try:
        return model.model_dump_json()
    except ValueError:  # half of a surrogate pair
        return type(model).model_validate(sound(model.model_dump())).model_dump_json()


def is_sound_text(text: str) -> bool:
    """Whether a stored JSON text can be taken as it is."""
    return not _is_suspect(text) and not _may_be_deep(text)


def _is_suspect(text: str) -> bool:
    return any(suspect in text for suspect in _SUSPECTS)


def _may_be_deep(text: str) -> bool:
    return text.count("[") + text.count("{") > _DEPTH_KEPT_MAX


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
