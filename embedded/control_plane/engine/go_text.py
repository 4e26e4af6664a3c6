"""Values as Go writes and reads them. On a cluster every parameter is a `structpb.Value`: each number is a float64.

Sources: kubeflow/pipelines, backend/src/v2/metadata/converter.go (PbValueToText, TextToPbValue) and driver/util.go
(pbValueToString); Go's strconv and encoding/json; protobuf-go's encoding/protojson. The golden values of the tests are
what those printed.
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from embedded.control_plane.engine.definitions import ParameterType
from embedded.control_plane.errors import DataRejected

_LARGEST_PLAIN = 1e21
_SMALLEST_PLAIN = 1e-6
"""encoding/json and protojson write an exponent at and above the one, and below the other."""
_SHORT_EXPONENT = 6
"""Of %g without a precision: from here on there is an exponent."""
_INT64 = (-(2**63), 2**63 - 1)
_GO_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What strings.TrimSpace takes off; Python's strip takes the ASCII separators 0x1c to 0x1f as well."""
_D, _H = r"[0-9]+(?:_[0-9]+)*", r"[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(rf"[+-]?(?:{_D}(?:\.(?:{_D})?)?|\.{_D})(?:[eE][+-]?{_D})?")
_HEXADECIMAL = re.compile(rf"[+-]?0[xX]_?(?:{_H}(?:\.(?:{_H})?)?|\.{_H})[pP][+-]?{_D}")
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_ESCAPED = re.compile(r'["\\\x00-\x1f<>&\u2028\u2029]')
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain_of(value: Any) -> Any:
    """The value as a cluster keeps it: numbers as float64, of which the whole ones are integers here.

    DataRejected for NaN, infinity, and integers beyond float64: no task could be given one (protojson).
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return _plain_number(value)
    if isinstance(value, dict):
        return {key: plain_of(inner) for key, inner in value.items()}
    return [plain_of(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def text_of(value: Any) -> str:
    """A parameter as text: what a STRING input gets of it, and what the launcher puts for a placeholder."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return _positional(float(value))
    return json_of(value)


def argument_of(value: Any) -> str:
    """A parameter as the driver puts it into a command or argument of a container: numbers by %d or %g."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return text_of(value)
    number = float(value)
    # The upper bound is open: 2**63 - 1 as a float is 2**63, beyond int64.
    if number.is_integer() and _INT64[0] <= number < 2**63:
        return str(int(number))
    return shortest_of(number)


def json_of(value: Any) -> str:
    """Compact JSON with sorted keys, `<`, `>` and `&` escaped."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{_ESCAPED.sub(_escape, value)}"'
    if isinstance(value, (int, float)):
        return _json_number(float(value))
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_of(key)}:{json_of(value[key])}" for key in sorted(value)) + "}"
    return "[" + ",".join(json_of(inner) for inner in value) + "]"


def parse_text(text: str, kind: ParameterType) -> Any:
    """What a file with an output parameter says. DataRejected when it says nothing of its declared type."""
    try:
        return plain_of(_PARSERS[kind](text))
    except (DataRejected, ValueError, KeyError, OverflowError, RecursionError) as error:
        why = f" ({error})" if isinstance(error, DataRejected) else ""
        raise DataRejected(f"{text[:80]!r} is no {kind.value}{why}.") from None


def parse_json(text: str) -> Any:
    """JSON as protojson reads it: no NaN, no duplicate keys, numbers within float64. ValueError otherwise."""
    value = json.loads(text, parse_constant=_refuse, parse_int=_finite, parse_float=_finite, object_pairs_hook=_object)
    json_of(value).encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return value


def _plain_number(value: float) -> int | float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DataRejected(f"{str(value)[:40]} is no number that a parameter can hold: JSON has none such")
    # -0 stays a float: no int holds that sign, and Go prints it.
    is_minus_zero = number == 0 and math.copysign(1, number) < 0
    is_whole = number.is_integer() and abs(number) < _LARGEST_PLAIN and not is_minus_zero
    # By the shortest digits, as Go prints them: int(number) is the exact value, with other digits beyond 2**53.
    return int(Decimal(repr(number))) if is_whole else number


def _positional(number: float) -> str:
    """strconv.FormatFloat(number, 'f', -1, 64)."""
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def shortest_of(number: float) -> str:
    """fmt.Sprintf("%g", number) of a finite number."""
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int), "only finite numbers are asked for"
    point = len(digits) + exponent - 1
    if -4 <= point < _SHORT_EXPONENT:
        return _positional(number)
    return ("-" if sign else "") + _scientific(digits, point, width=2)


def _json_number(number: float) -> str:
    if number == 0 or _SMALLEST_PLAIN <= abs(number) < _LARGEST_PLAIN:
        return _positional(number)
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int), "plain_of refused all else"
    return ("-" if sign else "") + _scientific(digits, len(digits) + exponent - 1, width=1)


def _scientific(digits: tuple[int, ...], point: int, *, width: int) -> str:
    """d.ddde±xx; `width`: digits of the exponent at least."""
    rest = "".join(map(str, digits[1:]))
    return f"{digits[0]}{'.' + rest if rest else ''}e{'-' if point < 0 else '+'}{abs(point):0{width}d}"


def _escape(match: re.Match[str]) -> str:
    return _SHORT_ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"


def _parse_integer(text: str) -> int:
    stripped = text.strip(_GO_SPACE)
    if not _INTEGER.fullmatch(stripped):
        raise ValueError
    value = int(stripped)
    if not _INT64[0] <= value <= _INT64[1]:
        raise ValueError
    return value


def parse_double(text: str) -> float:
    """strconv.ParseFloat of the text without the space around it. ValueError when it is none."""
    stripped = text.strip(_GO_SPACE)
    bare = stripped.lower().lstrip("+-")
    if bare in ("inf", "infinity", "nan"):
        return float(stripped)
    if _HEXADECIMAL.fullmatch(stripped):
        return float.fromhex(stripped.replace("_", ""))
    if not _DECIMAL.fullmatch(stripped):
        raise ValueError
    return _finite(stripped.replace("_", ""))


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is beyond float64")
    return value


def _parse_boolean(text: str) -> bool:
    return _BOOLEANS[text.strip(_GO_SPACE)]


def _parse_list(text: str) -> Any:
    return _only(parse_json(text), list)


def _parse_struct(text: str) -> Any:
    return _only(parse_json(text), dict)


def _only(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


_PARSERS: dict[ParameterType, Callable[[str], Any]] = {
    ParameterType.STRING: str,
    ParameterType.NUMBER_INTEGER: _parse_integer,
    ParameterType.NUMBER_DOUBLE: parse_double,
    ParameterType.BOOLEAN: _parse_boolean,
    ParameterType.LIST: _parse_list,
    ParameterType.STRUCT: _parse_struct,
}
