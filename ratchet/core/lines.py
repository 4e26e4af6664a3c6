"""The one reader of text that people send: label shards and files, feedback, traces, truth files. Pure.

A file is UTF-8 with a JSON value a line. `\\n` ends a line and nothing else does (U+2028, U+0085 and a lone `\\r` are
characters); the last line may lack it, a `\\r` before it and blank lines are ignored, and so is a byte-order mark.
What is JSON, `wire.strict_json` says. Whatever the bytes are, the outcome is a value or a short reason.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ratchet.core.errors import DataRejected
from wire.printable import excerpt_of
from wire.strict_json import BYTE_ORDER_MARK, NotJson, parse_json
from wire.validation_text import found_text


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
        if line.strip() in (b"", BYTE_ORDER_MARK):
            continue
        try:
            yield Line(number, parse_json(line))
        except NotJson as error:
            yield BrokenLine(number, str(error), excerpt_of(line.removeprefix(BYTE_ORDER_MARK).rstrip()))


def read_objects(lines: Iterable[bytes], *, where: str, next_step: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, JSON object) of each line, `place` being "<where>, line 3"; DataRejected names the first that is none."""
    for line in read_lines(lines):
        place = f"{where}, line {line.number}"
        if isinstance(line, BrokenLine):
            raise DataRejected(f"{place}: {line.text()}. {next_step}")
        if not isinstance(line.value, dict):
            raise DataRejected(f"{place}: expected a JSON object, found {found_text(line.value)}. {next_step}")
        yield place, line.value
