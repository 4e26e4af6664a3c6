"""COCO: the categories of a picture's annotations are the label of the whole picture. Pure.

It names no annotators and no times of labelling: those come from `--labeler` and the file's own time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ratchet.core.labels.formats.fields import column_of, corrects_of, inputs_of, label_of, labeler_of, line_of, text_of
from ratchet.core.labels.formats.items import (
    ImportOptions,
    LeftOut,
    ToolOpinion,
    UnreadableFile,
    WrongItem,
    left,
    parts_of,
    wrong,
)
from ratchet.core.labels.queue_marks import QUEUE_MARK
from wire.printable import printable
from wire.validation_text import found_text


def read_coco(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    """One opinion a picture. Annotations may come before the pictures in the file, so it is read twice."""
    if not any(options.schema.of_type("image")):
        raise UnreadableFile("COCO describes pictures, and the task has no input of type image")
    categories, images = _named_parts(data)
    found: dict[Any, dict[Any, None]] = {}
    for _, each in parts_of(data, "annotations"):
        if isinstance(each, Mapping) and isinstance(each.get("image_id"), str | int):
            found.setdefault(each["image_id"], {})[_key(each.get("category_id"))] = None
    for number, image in images.items():
        yield _of_image(image, found.pop(number, {}), categories, options)
    for number in found:
        yield wrong(f"annotations of image {printable(str(number), chars_max=60)}", "no such picture in `images`")


def _of_image(
    image: Mapping[str, Any], found: Mapping[Any, None], categories: Mapping[Any, str], options: ImportOptions
) -> ToolOpinion | LeftOut:
    name = image.get("file_name")
    place = f"image {printable(str(name or image.get('id')), chars_max=80)}"
    try:
        unknown = [key for key in found if key not in categories]
        if unknown:
            raise WrongItem(f"its category {found_text(unknown[0])} is not in `categories`")
        output = options.schema.output
        label = label_of([categories[key] for key in found], output) if found else None
        if label is None:
            return left(place, "unlabelled")
        coco_url = image.get("coco_url")
        is_stored = isinstance(coco_url, str) and coco_url.startswith("s3://")
        fields = {**image, "file_name": coco_url if is_stored else name}
        mapped = column_of("id", options)
        return line_of(
            inputs_of(fields, options, main="file_name"),
            options,
            place=place,
            id=image.get(mapped) if mapped else name or text_of(image.get("id")),
            label=label,
            labeler=labeler_of(None, options),
            at=options.at,
            corrects=corrects_of(image, options),
            mark=image.get(QUEUE_MARK),
        )
    except WrongItem as error:
        return wrong(place, error)


def _named_parts(data: bytes) -> tuple[dict[Any, str], dict[Any, Mapping[str, Any]]]:
    """Names of categories and descriptions of pictures, by their numbers."""
    categories: dict[Any, str] = {}
    images: dict[Any, Mapping[str, Any]] = {}
    for name, each in parts_of(data, "categories", "images"):
        if not isinstance(each, Mapping) or not isinstance(each.get("id"), str | int):
            raise UnreadableFile(f"`{name}` holds {found_text(each)}; objects with an `id` are expected")
        if name == "images":
            images[each["id"]] = each
        elif isinstance(each.get("name"), str):
            categories[each["id"]] = each["name"]
    if not images:
        raise UnreadableFile("no COCO file: it has no `images`")
    return categories, images


def _key(value: Any) -> Any:
    return value if isinstance(value, str | int) else repr(value)[:60]
