"""CVAT's JSON, which is Datumaro's: `categories`, and `items` with their annotations. Pure.

It names no annotators and no times of labelling: those come from `--labeler` and the file's own time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ratchet.core.labels.formats.items import (
    ImportOptions,
    LeftOut,
    ToolOpinion,
    UnreadableFile,
    WrongItem,
    parts_of,
    wrong,
)
from ratchet.core.labels.formats.pictures import MADE_BY_A_MODEL, TAG, PictureMark, ToolPicture, opinions_of
from wire.printable import printable
from wire.validation_text import found_text

_LABEL = "label"
_NOT_LABELS = frozenset({"caption", "hash_key", "feature_vector"})
"""Annotations that name no label."""
_OTHER_JSON = (
    "no JSON of Datumaro: it has no `items` and `categories`. What CVAT's API and its backups hold names pictures and "
    "labels by number: export the task as `Datumaro 1.0` or `CVAT for images 1.1`"
)


def read_datumaro(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    """One opinion a picture. The categories may come after the items, so the file is read twice."""
    names = _category_names(data)
    for number, (_, item) in enumerate(parts_of(data, "items"), 1):
        if not isinstance(item, Mapping):
            yield wrong(f"item {number}", "a JSON object is expected")
            continue
        place = f"item {printable(str(item.get('id', number)), chars_max=80)}"
        try:
            picture = ToolPicture(_fields_of(item), list(_marks_of(item, names)))
        except WrongItem as error:
            yield wrong(place, error)
            continue
        yield from opinions_of(picture, place, options)


def _category_names(data: bytes) -> list[Any]:
    """The labels' names, each at the place that is its number."""
    found, has_items = None, False
    for name, value in parts_of(data, "categories", "items"):
        has_items = has_items or name == "items"
        if name == "categories":
            labels = value.get(_LABEL) if isinstance(value, Mapping) else None
            listed = labels.get("labels") if isinstance(labels, Mapping) else None
            if not isinstance(listed, list):
                raise UnreadableFile("`categories.label.labels` must be a list of labels with their names")
            found = [each.get("name") if isinstance(each, Mapping) else None for each in listed]
    if found is None or not has_items:
        raise UnreadableFile(_OTHER_JSON)
    return found


def _fields_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item's attributes, and as `name` its picture's file: the item's id with the ending of the path."""
    media = [item[each] for each in ("image", "media") if isinstance(item.get(each), Mapping)]
    path = next((each["path"] for each in media if isinstance(each.get("path"), str) and each["path"]), None)
    if path is None:
        raise WrongItem("it names no file of its picture (`image.path` or `media.path`)")
    example = item.get("id")
    if not isinstance(example, str) or not example:
        raise WrongItem(f"its `id` is {found_text(example)}; a text is expected")
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    name = example if not dot or example.endswith(dot + ending) else f"{example}.{ending}"
    attributes = item.get("attr")
    return {**(attributes if isinstance(attributes, Mapping) else {}), "id": example, "name": name}


def _marks_of(item: Mapping[str, Any], names: list[Any]) -> Iterator[PictureMark]:
    found = item.get("annotations", [])
    if not isinstance(found, list):
        raise WrongItem(f"its `annotations` are {found_text(found)}; a list is expected")
    for each in found:
        if not isinstance(each, Mapping) or not isinstance(each.get("type"), str):
            raise WrongItem(f"an annotation is {found_text(each)}; an object with a `type` is expected")
        if each["type"] in _NOT_LABELS:
            continue
        given = each.get("attributes")
        attributes = dict(given) if isinstance(given, Mapping) else {}
        is_predicted = MADE_BY_A_MODEL in (each.get("source"), attributes.get("source"))
        kind = TAG if each["type"] == _LABEL else each["type"]
        yield PictureMark(kind, _name_of(each.get("label_id"), names), is_predicted, attributes)


def _name_of(number: Any, names: list[Any]) -> str:
    """ "" of a shape without a label."""
    if number is None:
        return ""
    is_place = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(names)
    name = names[number] if is_place else None
    if not isinstance(name, str):
        raise WrongItem(f"its label_id {found_text(number)} is not in `categories`")
    return name
