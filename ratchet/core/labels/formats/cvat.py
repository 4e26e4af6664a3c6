"""CVAT: the XML "CVAT for images 1.1"; a picture's tags, or else the labels of its shapes, are its label. Pure.

The parser refuses document types, so no entity is ever declared, and keeps one picture in memory at a time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from ratchet.core.labels.formats.fields import (
    column_of,
    corrects_of,
    inputs_of,
    label_of,
    labeler_of,
    line_of,
    moment_of,
)
from ratchet.core.labels.formats.items import (
    ImportOptions,
    LeftOut,
    ToolOpinion,
    UnreadableFile,
    WrongItem,
    left,
    wrong,
)
from ratchet.core.labels.queue_marks import QUEUE_MARK
from wire.printable import printable

_CHUNK_BYTES = 64 << 10
_DEPTH_MAX = 32
_MARKS_MAX = 100_000
"""Tags and shapes of one picture."""
_TEXT_CHARS_MAX = 100_000
_SHAPES = frozenset({"box", "polygon", "polyline", "points", "cuboid", "mask", "ellipse", "skeleton"})
_MADE_BY_A_MODEL = "auto"
_REFUSED_JSON = (
    "JSON of CVAT names pictures and labels by number. Export the task as `CVAT for images 1.1` and import its "
    "annotations.xml"
)


@dataclass
class _Mark:
    """A tag or a shape."""

    kind: str
    label: str
    is_predicted: bool
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class _Image:
    fields: dict[str, str]
    marks: list[_Mark] = field(default_factory=list)


class _Found:
    """What the parser has met. Its handlers are called in the order of the file."""

    def __init__(self) -> None:
        self.images: list[_Image] = []
        self.about: dict[str, str] = {}
        """Text of `meta/…`, by the path below the task, job or project: `assignee/username`."""
        self.root = ""
        self.num_tracks = 0
        self._path: list[str] = []
        self._image: _Image | None = None
        self._attribute = ""
        self._text: list[str] = []
        self._num_chars = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        self._path.append(name)
        self._text, self._num_chars = [], 0
        if len(self._path) > _DEPTH_MAX:
            raise UnreadableFile(f"elements are nested deeper than {_DEPTH_MAX} levels")
        if self._path == ["annotations", "image"]:
            self._image = _Image(attributes)
        elif self._path == ["annotations", "track"]:
            self.num_tracks += 1
        elif self._image is not None and len(self._path) == 3 and (name == "tag" or name in _SHAPES):
            if len(self._image.marks) >= _MARKS_MAX:
                raise UnreadableFile(f"a picture with more than {_MARKS_MAX:,} tags and shapes")
            is_predicted = attributes.get("source") == _MADE_BY_A_MODEL
            self._image.marks.append(_Mark(name, attributes.get("label", ""), is_predicted))
        elif name == "attribute":
            self._attribute = attributes.get("name", "")

    def end(self, name: str) -> None:
        text = "".join(self._text).strip()
        if self._path[:2] == ["annotations", "meta"] and text and len(self.about) < _MARKS_MAX:
            self.about.setdefault("/".join(self._path[3:]), text)
        if self._image is not None and name == "attribute" and len(self._path) == 4 and self._image.marks:
            self._image.marks[-1].attributes[self._attribute] = text
        if self._image is not None and self._path == ["annotations", "image"]:
            self.images.append(self._image)
            self._image = None
        self._path.pop()
        self._text, self._num_chars = [], 0

    def text(self, data: str) -> None:
        self._num_chars += len(data)
        if self._num_chars > _TEXT_CHARS_MAX:
            raise UnreadableFile(f"a text of more than {_TEXT_CHARS_MAX:,} characters")
        self._text.append(data)

    def refuse_doctype(self, *_: object) -> None:
        raise UnreadableFile("a document type (<!DOCTYPE …>) is not allowed in it")


def read_cvat(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    """One opinion a picture; the annotator is the assignee of the task or job, if there is one."""
    if data.lstrip()[:1] in (b"{", b"["):
        raise UnreadableFile(_REFUSED_JSON)
    if not any(options.schema.of_type("image")):
        raise UnreadableFile("CVAT describes pictures, and the task has no input of type image")
    found = _Found()
    for image in _images(data, found):
        yield from _of_image(image, found.about, options)
    if found.num_tracks:
        yield wrong("tracks", f"{found.num_tracks} tracks of a video; export it as `CVAT for images 1.1`")


def _images(data: bytes, found: _Found) -> Iterator[_Image]:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.CharacterDataHandler = found.text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = found.refuse_doctype
    try:
        for start in range(0, len(data), _CHUNK_BYTES):
            parser.Parse(data[start : start + _CHUNK_BYTES], False)
            yield from found.images
            found.images.clear()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise UnreadableFile(f"line {error.lineno}: not XML ({expat.errors.messages[error.code]})") from None
    except (ValueError, LookupError) as error:
        if isinstance(error, UnreadableFile):
            raise
        raise UnreadableFile(f"not XML that can be read ({printable(str(error))})") from None
    if found.root != "annotations":
        raise UnreadableFile(f"no file of CVAT: its root is <{printable(found.root, chars_max=40)}>, not <annotations>")


def _of_image(image: _Image, about: Mapping[str, str], options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    name = image.fields.get("name", "")
    place = f"image {printable(name or image.fields.get('id', '?'), chars_max=80)}"
    made = [mark for mark in image.marks if not mark.is_predicted]
    if len(made) < len(image.marks):
        yield left(place, "prediction")
    try:
        label = label_of(_labels(made, options), options.schema.output) if made else None
        if label is None:
            yield left(place, "unlabelled")
            return
        mapped = column_of("id", options)
        fields: dict[str, Any] = dict(image.fields)
        yield line_of(
            inputs_of(fields, options, main="name"),
            options,
            place=place,
            id=fields.get(mapped) if mapped else name,
            label=label,
            labeler=labeler_of(about.get("assignee/username"), options),
            at=moment_of(about.get("updated"), options),
            corrects=corrects_of(fields, options),
            mark=next((mark.attributes[QUEUE_MARK] for mark in made if mark.attributes.get(QUEUE_MARK)), None),
        )
    except WrongItem as error:
        yield wrong(place, error)


def _labels(marks: list[_Mark], options: ImportOptions) -> list[str]:
    """Of an attribute, when `--map` names one or one is called as the task's output; else tags come before shapes."""
    wanted = column_of("label", options)
    own = [value for mark in marks for name, value in mark.attributes.items() if name == options.schema.output.name]
    if wanted is not None:
        return [mark.attributes[wanted] for mark in marks if wanted in mark.attributes]
    if own:
        return own
    tags = [mark.label for mark in marks if mark.kind == "tag"]
    return tags or [mark.label for mark in marks]
