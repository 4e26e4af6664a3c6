"""What a reader of a labelling tool's file gives, and what it is told. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.lines import BrokenLine, read_lines, split_lines
from wire.printable import printable
from wire.strict_json import BYTE_ORDER_MARK, NotJson, iter_parts, parse_json

Why = Literal["unlabelled", "cancelled", "prediction", "draft", "wrong"]
WHY_TEXTS: Mapping[Why, str] = {
    "unlabelled": "not labelled yet",
    "cancelled": "skipped or discarded by the annotator",
    "prediction": "a model's prediction, not a person's label",
    "draft": "a draft that was not submitted",
    "wrong": "cannot be imported",
}
GROUND_TRUTH = "ground-truth"
"""Labeler of an annotation that the tool marks as ground truth, whoever made it."""


class ToolOpinion(NamedTuple):
    place: str
    """Where in the file: "task 12, annotation 3"."""
    line: dict[str, Any]
    """The fields of a label line. Nobody has checked its values."""


class LeftOut(NamedTuple):
    place: str
    why: Why
    text: str
    """The reason, for "wrong"; else what the item is."""


class WrongItem(ValueError):
    """Why one item cannot be a label line; short and printable."""


class UnreadableFile(ValueError):
    """Why a whole file cannot be read, with the place; the caller names the file."""


class ImportOptions(NamedTuple):
    schema: ExampleSchema
    at: str
    """Time of the opinions of which the file tells none: ISO 8601 with a zone."""
    labeler: str = ""
    """Of the opinions of which the file names none."""
    images: str = ""
    """`s3://BUCKET/FOLDER/` where the pictures lie that the file names without a URI."""
    columns: Mapping[str, str] = {}
    """Field of the tool to input, or to `id`, `label`, `labeler`, `labeled_at`, `corrects`."""


Reader = Callable[[bytes, ImportOptions], Iterator[ToolOpinion | LeftOut]]


def wrong(place: str, reason: object) -> LeftOut:
    return LeftOut(place, "wrong", printable(str(reason), chars_max=400))


def left(place: str, why: Why) -> LeftOut:
    return LeftOut(place, why, WHY_TEXTS[why])


def read_objects_of(data: bytes, *, what: str) -> Iterator[tuple[str, dict[str, Any]] | LeftOut]:
    """(place, object) of each element of a JSON list, of each JSON line, or of the one object that the file is.

    what: what to call an element. Of JSON lines a broken one is left out; a broken list ends in UnreadableFile, because
    what follows cannot be told.
    """
    body = data.removeprefix(BYTE_ORDER_MARK).lstrip()
    if body.startswith(b"["):
        values: Iterator[tuple[str, Any] | LeftOut] = _elements(body, what)
    elif body.startswith(b"{") and _is_one_object(body):
        values = iter([(f"{what} 1", parse_json(body))])
    else:
        values = _lines(data)
    for each in values:
        if isinstance(each, LeftOut):
            yield each
            continue
        place, value = each
        yield (place, value) if isinstance(value, dict) else wrong(place, "a JSON object is expected")


def parts_of(data: bytes, *names: str) -> Iterator[tuple[str, Any]]:
    """(name, value) of the members of one large object that have these names; of a list each of its elements.
    UnreadableFile says where it is broken."""
    number, inside = 0, ""
    try:
        for name, value in iter_parts(data):
            number, inside = (number + 1 if name == inside else 1), name
            if name in names:
                yield name, value
    except NotJson as error:
        where = f"`{printable(inside, chars_max=60)}`, after element {number}: " if inside else ""
        raise UnreadableFile(f"{where}{error}") from None


def _elements(body: bytes, what: str) -> Iterator[tuple[str, Any]]:
    number = 0
    try:
        for number, (_, value) in enumerate(iter_parts(body), 1):
            yield f"{what} {number}", value
    except NotJson as error:
        raise UnreadableFile(f"{what} {number + 1}: {error}") from None


def _is_one_object(body: bytes) -> bool:
    """Whether it is one object, written over several lines. A line of its own is what most files begin with."""
    try:
        parse_json(body.partition(b"\n")[0])
    except NotJson:
        try:
            parse_json(body)
        except NotJson:
            return False
        return True
    return False


def _lines(data: bytes) -> Iterator[tuple[str, Any] | LeftOut]:
    for line in read_lines(split_lines(data)):
        place = f"line {line.number}"
        yield wrong(place, line.text()) if isinstance(line, BrokenLine) else (place, line.value)
