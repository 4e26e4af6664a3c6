"""CVAT: the XML "CVAT for images 1.1"; its JSON is Datumaro's (`datumaro`). Pure.

The parser refuses document types, so no entity is ever declared, and keeps one picture in memory at a time.
"""

from collections.abc import Iterator
from xml.parsers import expat

from ratchet.core.labels.formats.datumaro import read_datumaro
from ratchet.core.labels.formats.items import ImportOptions, LeftOut, ToolOpinion, UnreadableFile, wrong
from ratchet.core.labels.formats.pictures import MADE_BY_A_MODEL, TAG, PictureMark, ToolPicture, opinions_of
from wire.printable import printable
from wire.strict_json import BYTE_ORDER_MARK

_CHUNK_BYTES = 64 << 10
_DEPTH_MAX = 32
_MARKS_MAX = 100_000
"""Tags and shapes of one picture."""
_TEXT_CHARS_MAX = 100_000
_SHAPES = frozenset({"box", "polygon", "polyline", "points", "cuboid", "mask", "ellipse", "skeleton"})


class _Found:
    """What the parser has met. Its handlers are called in the order of the file."""

    def __init__(self) -> None:
        self.images: list[ToolPicture] = []
        self.about: dict[str, str] = {}
        """Text of `meta/…`, by the path below the task, job or project: `assignee/username`."""
        self.root = ""
        self.num_tracks = 0
        self._path: list[str] = []
        self._image: ToolPicture | None = None
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
            self._image = ToolPicture({**attributes})
        elif self._path == ["annotations", "track"]:
            self.num_tracks += 1
        elif self._image is not None and len(self._path) == 3 and (name == TAG or name in _SHAPES):
            if len(self._image.marks) >= _MARKS_MAX:
                raise UnreadableFile(f"a picture with more than {_MARKS_MAX:,} tags and shapes")
            is_predicted = attributes.get("source") == MADE_BY_A_MODEL
            self._image.marks.append(PictureMark(name, attributes.get("label", ""), is_predicted))
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
    if not any(options.schema.of_type("image")):
        raise UnreadableFile("CVAT describes pictures, and the task has no input of type image")
    if data.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"["):
        yield from read_datumaro(data, options)
        return
    found = _Found()
    for image in _images(data, found):
        name = image.fields.get("name") or image.fields.get("id", "?")
        place = f"image {printable(str(name), chars_max=80)}"
        who, at = found.about.get("assignee/username"), found.about.get("updated")
        yield from opinions_of(image, place, options, who=who, at=at)
    if found.num_tracks:
        yield wrong("tracks", f"{found.num_tracks} tracks of a video; export it as `CVAT for images 1.1`")


def _images(data: bytes, found: _Found) -> Iterator[ToolPicture]:
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
