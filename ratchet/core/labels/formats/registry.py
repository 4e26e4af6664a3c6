"""Which formats there are, and which of them a file is in. Pure."""

from collections.abc import Mapping
from typing import Any

from ratchet.core.labels.formats.argilla import read_argilla
from ratchet.core.labels.formats.coco import read_coco
from ratchet.core.labels.formats.csv import read_csv
from ratchet.core.labels.formats.cvat import read_cvat
from ratchet.core.labels.formats.doccano import read_doccano
from ratchet.core.labels.formats.items import LeftOut, Reader, UnreadableFile, read_objects_of
from ratchet.core.labels.formats.jsonl import read_jsonl
from ratchet.core.labels.formats.label_studio import read_label_studio
from ratchet.core.labels.formats.parquet import read_parquet
from wire.strict_json import BYTE_ORDER_MARK, NotJson, iter_parts

READERS: Mapping[str, Reader] = {
    "label-studio": read_label_studio,
    "coco": read_coco,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "argilla": read_argilla,
    "doccano": read_doccano,
    "cvat": read_cvat,
}
_COCO: Mapping[str, frozenset[str]] = {
    "images": frozenset({"id", "file_name"}),
    "categories": frozenset({"id", "name"}),
    "annotations": frozenset({"image_id", "category_id"}),
}
"""The lists of a COCO file, and fields of what is in them."""
_PARTS_LOOKED_AT = 100
_PARQUET = b"PAR1"


def guess_format(name: str, data: bytes) -> str | None:
    """By the end of the name and the first item; None where several formats look like that."""
    if data.startswith(_PARQUET):
        return "parquet"
    if name.lower().endswith((".csv", ".tsv")):
        return "csv"
    body = data[:4096].removeprefix(BYTE_ORDER_MARK).lstrip()
    if body.startswith(b"<"):
        return "cvat"
    if not body.startswith((b"{", b"[")):
        return None
    return _of_json(data, body)


def _of_json(data: bytes, body: bytes) -> str | None:
    if body.startswith(b"{") and _is_coco(data):
        return "coco"
    if body.startswith(b"{") and _is_datumaro(data):
        return "cvat"
    try:
        first = next((each[1] for each in read_objects_of(data, what="item") if not isinstance(each, LeftOut)), None)
    except UnreadableFile:
        return None
    return None if first is None else _of_object(first)


def _of_object(item: Mapping[str, Any]) -> str | None:
    """By the fields that one tool alone writes."""
    names = item.keys()
    if isinstance(item.get("data"), Mapping) or {"annotation_id", "annotator"} <= names:
        return "label-studio"
    if isinstance(item.get("task"), Mapping) and "result" in names:
        return "label-studio"
    if isinstance(item.get("fields"), Mapping) or (isinstance(item.get("items"), list) and "total" in names):
        return "argilla"
    if "annotation_agent" in names or "prediction_agent" in names:
        return "argilla"
    if "id" in names and ("features" in names or isinstance(item.get("inputs"), Mapping)):
        return "jsonl"
    is_listed = any(isinstance(item.get(name), list) for name in ("label", "labels", "cats", "annotations"))
    if is_listed and ("text" in names or "filename" in names):
        return "doccano"
    return "jsonl" if "label" in names and "labeler" in names else None


def _is_datumaro(data: bytes) -> bool:
    """By its categories, which come first in what CVAT writes."""
    try:
        for number, (name, value) in enumerate(iter_parts(data)):
            if name == "categories":
                return isinstance(value, Mapping) and isinstance(value.get("label"), Mapping)
            if number >= _PARTS_LOOKED_AT:
                return False
    except NotJson:
        pass
    return False


def _is_coco(data: bytes) -> bool:
    """By the first element of its lists; of a file that is broken further on, that is enough."""
    try:
        for number, (name, value) in enumerate(iter_parts(data)):
            if name in _COCO and isinstance(value, Mapping) and _COCO[name] <= value.keys():
                return True
            if number >= _PARTS_LOOKED_AT:
                return False
    except NotJson:
        pass
    return False
