"""The one reader of JSON that others send: a value, or a short reason why there is none. Pure.

JSON is that of RFC 8259, so no NaN and no Infinity; a name given twice, half a surrogate pair, a number that no float
holds and nesting beyond 64 levels are refused. A byte-order mark is ignored.
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from wire.printable import printable

LINE_BYTES_MAX = 16 << 20
"""A 1024 x 1024 image as numbers in text is about 6 MB."""
DEPTH_MAX = 64
DIGITS_MAX = 308
"""Of an integer: a float holds no larger one."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class NotJson(ValueError):
    """Why bytes are no JSON value, in words that fit after a colon; short and printable."""


def parse_json(data: bytes) -> Any:
    """The JSON value of these bytes; NotJson says why there is none. Raises nothing else."""
    if len(data) > LINE_BYTES_MAX:
        raise NotJson(f"too long ({len(data):,} bytes; the limit is {LINE_BYTES_MAX:,})")
    try:
        text = data.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8 (byte {error.start + 1} of it)") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > DEPTH_MAX and _is_deep(value):
        raise NotJson(_TOO_DEEP)
    if "\\u" in text and not _is_unicode(value):
        raise NotJson("not JSON text (half of a surrogate pair, such as \\ud800 alone, is no character)")
    return value


_TOO_DEEP = f"not JSON that can be read (nested deeper than {DEPTH_MAX} levels)"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(name for name, num in Counter(name for name, _ in pairs).items() if num > 1)
        raise NotJson(f"not JSON with one meaning (the name '{printable(twice, chars_max=60)}' is given twice)")
    return value


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise NotJson(f"a number is too large ({len(text):,} digits; a float holds up to 1.8e308)")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:
        raise NotJson(f"a number is too large ({printable(text, chars_max=30)}; a float holds up to 1.8e308)")
    return value


def _constant(text: str) -> float:
    raise NotJson(f"not JSON ({text} is no JSON number)")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _is_deep(value: Any) -> bool:
    layer = [value]
    for _ in range(DEPTH_MAX):
        layer = [child for each in layer for child in _children_of(each) if isinstance(child, dict | list)]
        if not layer:
            return False
    return True


def _children_of(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
