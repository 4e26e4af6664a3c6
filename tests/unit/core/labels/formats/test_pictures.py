"""COCO and CVAT: a label of the whole picture."""

import json

import pytest

from ratchet.core.labels.formats.items import UnreadableFile
from tests.unit.core.labels.formats.reading import AT, MAILS, PETS, SEEN, read

PLACE = {"labeler": "eva", "images": "s3://pets/in/"}
COCO = {
    "info": {"year": 2026},
    "annotations": [
        {"id": 1, "image_id": 10, "category_id": 1, "bbox": [0, 0, 2, 2], "segmentation": [[0, 0, 1, 1]]},
        {"id": 2, "image_id": 10, "category_id": 1, "bbox": [1, 1, 2, 2]},
        {"id": 3, "image_id": 11, "category_id": 1},
        {"id": 4, "image_id": 11, "category_id": 2},
    ],
    "images": [
        {"id": 10, "file_name": "a.png", "width": 8, "height": 8},
        {"id": 11, "file_name": "sub/b.png"},
        {"id": 12, "file_name": "c.png"},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}


def test_a_category_is_the_class_of_its_picture():
    lines, left = read("coco", COCO, PETS, **PLACE)
    assert lines == [
        {"id": "a.png", "inputs": {"picture": "s3://pets/in/a.png"}, "label": "cat", "labeler": "eva", "labeled_at": AT}
    ]
    assert [why for why, _ in left] == ["wrong", "unlabelled"] and "2 labels ('cat', 'dog')" in left[0][1]


def test_all_categories_are_the_tags_of_their_picture():
    assert [line["label"] for line in read("coco", COCO, SEEN, **PLACE)[0]] == [["cat"], ["cat", "dog"]]


def test_what_coco_refers_to_must_be_there():
    file = {**COCO, "annotations": [{"image_id": 10, "category_id": 9}, {"image_id": 99, "category_id": 1}]}
    reasons = [text for why, text in read("coco", file, PETS, **PLACE)[1] if why == "wrong"]
    assert reasons == ["its category 9 is not in `categories`", "no such picture in `images`"]


@pytest.mark.parametrize(
    ("file", "schema", "reason"),
    [
        pytest.param(COCO, MAILS, "no input of type image", id="task-of-texts"),
        pytest.param({"categories": []}, PETS, "no `images`", id="another-file"),
        pytest.param(b'{"images": [{"id": 1, "file_name": "a"}, ', PETS, "`images`, after element 1", id="truncated"),
    ],
)
def test_a_file_that_is_no_coco_is_refused(file, schema, reason):
    with pytest.raises(UnreadableFile, match=reason):
        read("coco", file, schema, **PLACE)


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task><id>4</id><name>pets</name><updated>2026-02-03 04:05:06.7+00:00</updated>
      <assignee><username>ann</username><email>ann@example.com</email></assignee>
      <labels><label><name>cat</name></label></labels>
    </task>
    <dumped>2026-02-04 00:00:00+00:00</dumped>
  </meta>
  <image id="0" name="a.png" width="8" height="8">
    <tag label="cat" source="manual"><attribute name="sure">yes</attribute></tag>
    <box label="dog" source="manual" occluded="0" xtl="0" ytl="0" xbr="1" ybr="1" z_order="0"></box>
  </image>
  <image id="1" name="b.png" width="8" height="8"><polygon label="dog" points="0,0;1,1"></polygon></image>
  <image id="2" name="c.png" width="8" height="8"></image>
  <image id="3" name="d.png" width="8" height="8"><tag label="cat" source="auto"></tag></image>
  <image id="4" name="e.png" width="8" height="8"><tag label="any"><attribute name="pet">dog</attribute></tag></image>
</annotations>"""


def test_a_tag_is_the_label_of_its_picture_and_a_shape_where_no_tag_is():
    lines, left = read("cvat", CVAT, PETS, images="s3://pets/in")
    assert [(line["id"], line["label"]) for line in lines] == [("a.png", "cat"), ("b.png", "dog"), ("e.png", "dog")]
    assert lines[0]["inputs"] == {"picture": "s3://pets/in/a.png"}
    assert {(line["labeler"], line["labeled_at"]) for line in lines} == {("ann", "2026-02-03T04:05:06.700000Z")}
    assert [why for why, _ in left] == ["unlabelled", "prediction", "unlabelled"]


def test_an_attribute_is_the_label_by_its_name():
    lines, _ = read("cvat", CVAT, SEEN, images="s3://pets/in", columns={"pet": "label"})
    assert [(line["id"], line["label"]) for line in lines] == [("e.png", ["dog"])]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        pytest.param(CVAT.replace("<annotations>", BOMB + "<annotations>", 1), "document type", id="entities"),
        pytest.param('<!DOCTYPE x SYSTEM "file:///etc/passwd"><annotations/>', "document type", id="external"),
        pytest.param(CVAT[:-40], "line 18: not XML", id="truncated"),
        pytest.param("<other/>", "its root is <other>", id="another-file"),
        pytest.param("<annotations>" + "<a>" * 40, "nested deeper than 32", id="deep"),
        pytest.param('{"version": 0, "tags": [], "shapes": []}', "`Datumaro 1.0` or `CVAT for", id="json-of-its-api"),
        pytest.param(
            '[{"version": 0, "tags": [], "shapes": []}]', "`Datumaro 1.0` or `CVAT for", id="json-of-a-backup"
        ),
        pytest.param('<?xml version="1.0" encoding="nope"?><annotations/>', "not XML", id="odd-encoding"),
    ],
)
def test_a_file_that_is_no_cvat_is_refused(file, reason):
    with pytest.raises(UnreadableFile, match=reason):
        read("cvat", file, PETS, images="s3://pets/in")


def test_checkboxes_say_what_cvat_has_no_field_for():
    file = CVAT.replace('name="sure">yes', 'name="skipped">true').replace(
        '<polygon label="dog" points="0,0;1,1">',
        '<polygon label="dog" points="0,0;1,1"><attribute name="ground_truth">true</attribute>'
        '<attribute name="queue_mark">audit.blind.</attribute>',
    )
    lines, left = read("cvat", file, PETS, images="s3://pets/in")
    assert left[0] == ("cancelled", "skipped or discarded by the annotator")
    assert lines[0]["id"] == "b.png" and (lines[0]["labeler"], lines[0]["corrects"]) == ("ground-truth", True)
    assert [line.get("queue_mark") for line in lines] == ["audit.blind.", None]


def mark(kind: str, number: object, **attributes: object) -> dict[str, object]:
    return {"id": 0, "type": kind, "attributes": {"occluded": False, **attributes}, "group": 0, "label_id": number}


def item(name: str, *annotations: object, path: str | None = None, **others: object) -> dict[str, object]:
    media = {"path": f"{name}.png" if path is None else path, "size": [8, 8]}
    return {"id": name, "annotations": list(annotations), "attr": {"frame": 0}, "image": media, **others}


DATUMARO = {
    "info": {},
    "categories": {
        "label": {
            "labels": [
                {"name": "cat", "parent": "", "attributes": []},
                {"name": "dog", "parent": "", "attributes": []},
            ],
            "attributes": ["occluded"],
        },
        "points": {"items": []},
    },
    "items": [
        item("a", mark("label", 0), mark("bbox", 1)),
        item("sub/b", mark("polygon", 1), mark("mask", 1), {"type": "caption", "caption": "a dog"}),
        item("c"),
        item("d", mark("label", 0, source="auto")),
        item("e.png", mark("label", 0, pet="dog")),
        item("f", mark("label", 0, skipped=True)),
        item("g", mark("label", 1, ground_truth=True), path="images/default/g.jpg"),
        item("h", mark("bbox", None)),
        item("i", mark("label", 1), attr={"frame": 8, "queue_mark": "audit.blind."}),
    ],
}


def test_datumaros_labels_are_tags_and_its_shapes_count_where_no_tag_is():
    lines, left = read("cvat", DATUMARO, PETS, images="s3://pets/in", labeler="eva")
    assert [(line["id"], line["label"]) for line in lines] == [
        ("a.png", "cat"), ("sub/b.png", "dog"), ("e.png", "dog"), ("g.jpg", "dog"), ("i.png", "dog")]  # fmt: skip
    assert [line["inputs"]["picture"] for line in lines][1] == "s3://pets/in/sub/b.png"
    assert [line["labeler"] for line in lines] == ["eva", "eva", "eva", "ground-truth", "eva"]
    assert [line.get("queue_mark") for line in lines] == [None, None, None, None, "audit.blind."]
    assert [why for why, _ in left] == ["unlabelled", "prediction", "unlabelled", "cancelled", "unlabelled"]


def test_both_exports_of_cvat_give_one_picture_one_id():
    xml, _ = read("cvat", CVAT, PETS, images="s3://pets/in", labeler="eva")
    json_, _ = read("cvat", DATUMARO, PETS, images="s3://pets/in", labeler="eva")
    assert xml[0]["id"] == json_[0]["id"] and xml[0]["inputs"] == json_[0]["inputs"]


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([item("a", mark("label", 9))], "its label_id 9 is not in `categories`"),
        ([item("a", mark("label", True))], "its label_id true is not in `categories`"),
        ([item("a", mark("label", 0), mark("label", 1))], "2 labels ('cat', 'dog') where the task takes one class"),
        ([item("a", mark("label", 0), path="")], "it names no file of its picture"),
        ([{"id": "a", "point_cloud": {"path": "a.pcd"}, "annotations": []}], "it names no file of its picture"),
        ([{"id": 7, "image": {"path": "a.png"}, "annotations": []}], "its `id` is 7; a text is expected"),
        ([{"id": "a", "image": {"path": "a.png"}, "annotations": {}}], "its `annotations` are an object"),
        ([item("a", "cat")], "an annotation is 'cat'; an object with a `type` is expected"),
        ([item("../../a", mark("label", 0))], "leads out of the folder of `--images`"),
        (["a"], "a JSON object is expected"),
    ],
)
def test_an_item_that_is_wrong_has_its_reason(items, reason):
    lines, left = read("cvat", {**DATUMARO, "items": items}, PETS, images="s3://pets/in", labeler="eva")
    assert lines == [] and left[0][0] == "wrong" and reason in left[0][1]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        pytest.param({"items": [item("a")]}, "it has no `items` and `categories`", id="no-categories"),
        pytest.param({**DATUMARO, "items": []}, "it has no `items` and `categories`", id="no-items"),
        pytest.param({**DATUMARO, "categories": {"label": {"labels": {}}}}, "must be a list of labels", id="odd"),
        pytest.param(json.dumps(DATUMARO)[:-60], "`items`, after element 8", id="truncated"),
    ],
)
def test_a_file_that_is_no_datumaro_is_refused(file, reason):
    with pytest.raises(UnreadableFile, match=reason):
        read("cvat", file, PETS, images="s3://pets/in", labeler="eva")


def test_tracks_of_a_video_are_told():
    file = '<annotations><track id="0" label="cat"><box frame="0"></box></track></annotations>'
    assert "1 tracks of a video" in read("cvat", file, PETS)[1][0][1]
