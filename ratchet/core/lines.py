"""The one reader of text that people send: label shards and files, feedback, traces, truth files. Pure.

A file is UTF-8 with a JSON value a line. `\\n` ends a line and nothing else does (U+2028, U+0085 and a lone `\\r` are
characters); the last line may lack it, a `\\r` before it and blank lines are ignored, and so is a byte-order mark.
JSON is that of RFC 8259, so no NaN and no Infinity; a name given twice, half a surrogate pair, a number that no float
holds and nesting beyond 64 levels are refused. Whatever the bytes are, the outcome is a value or a short reason.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ratchet.core.errors import DataRejected
from ratchet.core.printable import excerpt_of, printable
from ratchet.core.validation_text import found_text

LINE_BYTES_MAX = 16 << 20
"""A 1024 x 1024 image as numbers in text is about 6 MB."""
DEPTH_MAX = 64
DIGITS_MAX = 308
"""Of an integer: a float holds no larger one."""
_BOM = b"\xef\xbb\xbf"


class NotJson(ValueError):
    """Why bytes are no JSON value, in words that fit after a colon; short and printable."""


class Line(NamedTuple):
    number: int
    """From 1; blank lines count."""
    value: Any


class BrokenLine(NamedTuple):
    number: int
    reason: str
    excerpt: str
    """At most 200 printable characters."""

    def text(self) -> str:
        return f"{self.reason}: {self.excerpt}" if self.excerpt else self.reason


def split_lines(data: bytes | str) -> list[bytes]:
    """The raw lines, blank ones too."""
    raw = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    return raw.split(b"\n")


def read_lines(lines: Iterable[bytes]) -> Iterator[Line | BrokenLine]:
    """Each line that is not blank, as its JSON value or as the reason why it is none."""
    for number, line in enumerate(lines, 1):
        if line.strip() in (b"", _BOM):
            continue
        try:
            yield Line(number, parse_json(line))
        except NotJson as error:
            yield BrokenLine(number, str(error), excerpt_of(line.removeprefix(_BOM).rstrip()))


def read_objects(lines: Iterable[bytes], *, where: str, next_step: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, JSON object) of each line, `place` being "<where>, line 3"; DataRejected names the first that is none."""
    for line in read_lines(lines):
        place = f"{where}, line {line.number}"
        if isinstance(line, BrokenLine):
            raise DataRejected(f"{place}: {line.text()}. {next_step}")
        if not isinstance(line.value, dict):
            raise DataRejected(f"{place}: expected a JSON object, found {found_text(line.value)}. {next_step}")
        yield place, line.value


def parse_json(data: bytes) -> Any:
    """The JSON value of these bytes; NotJson says why there is none. Raises nothing else."""
    if len(data) > LINE_BYTES_MAX:
        raise NotJson(f"too long ({len(data):,} bytes; the limit is {LINE_BYTES_MAX:,})")
    try:
        text = data.removeprefix(_BOM).decode()
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
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
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
