"""The one reader of JSON that others send: a value, or a short reason why there is none. Pure.

JSON is that of RFC 8259, so no NaN and no Infinity; a name given twice, half a surrogate pair, a number that no float
holds and nesting beyond 64 levels are refused. A byte-order mark is ignored.
"""

import json
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
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
    return _checked(value, text)


def iter_parts(data: bytes) -> Iterator[tuple[str, Any]]:
    """The parts of one large JSON list or object, one by one: ("", element) of a list; of an object (name, element) of
    each member that is a list, and (name, value) of any other. Memory: the text and one part.

    NotJson where it ends too early, and what it says of a value too. Raises nothing else.
    """
    try:
        text = data.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8 (byte {error.start + 1} of it)") from None
    start = _after_space(text, 0)
    if text[start : start + 1] == "[":
        end = yield from _elements(text, start, "")
    elif text[start : start + 1] == "{":
        end = yield from _members(text, start)
    else:
        raise NotJson("not JSON (a list or an object is expected)")
    if _after_space(text, end) < len(text):
        raise NotJson(f"not JSON (characters after its end, at {end + 1:,})")


def _members(text: str, start: int) -> Generator[tuple[str, Any], None, int]:
    position = _after_space(text, start + 1)
    if text[position : position + 1] == "}":
        return position + 1
    while True:
        name, position = _value_at(text, position)
        position = _after_space(text, position)
        if not isinstance(name, str) or text[position : position + 1] != ":":
            raise NotJson(f"not JSON (a name and a colon are expected at character {position + 1:,})")
        position = _after_space(text, position + 1)
        if text[position : position + 1] == "[":
            position = yield from _elements(text, position, name)
        else:
            value, position = _value_at(text, position)
            yield name, value
        position, is_over = _next(text, position, "}")
        if is_over:
            return position


def _elements(text: str, start: int, name: str) -> Generator[tuple[str, Any], None, int]:
    position = _after_space(text, start + 1)
    if text[position : position + 1] == "]":
        return position + 1
    while True:
        value, position = _value_at(text, position)
        yield name, value
        position, is_over = _next(text, position, "]")
        if is_over:
            return position


def _next(text: str, position: int, closing: str) -> tuple[int, bool]:
    """Where the next part begins, or the whole has ended."""
    position = _after_space(text, position)
    found = text[position : position + 1]
    if found == closing:
        return position + 1, True
    if found != ",":
        what = f"found {found!r}" if found else "the file ends there"
        raise NotJson(f"not JSON (`,` or `{closing}` is expected at character {position + 1:,}, {what})")
    return _after_space(text, position + 1), False


def _value_at(text: str, position: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON ({error.msg} at character {error.pos + 1:,})") from None
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    if end - position > LINE_BYTES_MAX:
        raise NotJson(f"too long ({end - position:,} characters; the limit is {LINE_BYTES_MAX:,})")
    return _checked(value, text[position:end]), end


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _checked(value: Any, text: str) -> Any:
    if text.count("[") + text.count("{") > DEPTH_MAX and _is_deep(value):
        raise NotJson(_TOO_DEEP)
    if "\\u" in text and not _is_unicode(value):
        raise NotJson("not JSON text (half of a surrogate pair, such as \\ud800 alone, is no character)")
    return value


_SPACE = re.compile(r"[ \t\n\r]*")
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
    # True of infinity alone: inf - inf is NaN.
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
