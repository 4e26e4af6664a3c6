"""Label Studio's exports, in its own shapes."""

from typing import Any

import pytest

from ratchet.core.labels.formats.items import UnreadableFile
from tests.unit.core.labels.formats.reading import AT, FLIGHTS, MAILS, PETS, STARS, TOPICS, read

ANN = {"id": 1, "email": "ann@example.com", "first_name": "", "last_name": ""}


def choice(*names: str, control: str = "mood") -> dict[str, Any]:
    value = {"choices": list(names)}
    return {"id": "x", "type": "choices", "value": value, "origin": "manual", "to_name": "text", "from_name": control}


def annotation(*results: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "id": 7, "completed_by": ANN, "result": list(results), "was_cancelled": False, "ground_truth": False,
        "created_at": "2026-01-02T03:04:05.678Z", "updated_at": "2026-01-02T04:00:00+01:00", "lead_time": 1.0, **other,
    }  # fmt: skip


def task(*annotations: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {"id": 3, "data": {"text": "hello"}, "annotations": list(annotations), "predictions": [], **other}


def test_an_annotation_is_one_opinion_with_its_annotator_and_time():
    lines, left = read("label-studio", [task(annotation(choice("good")))], MAILS)
    assert lines == [
        {
            "id": "label-studio-3", "inputs": {"text": "hello"}, "label": "good", "labeler": "ann@example.com",
            "labeled_at": "2026-01-02T04:00:00+01:00",
        }
    ]  # fmt: skip
    assert left == []


def test_each_annotator_of_a_task_has_an_opinion():
    bob = annotation(choice("bad"), completed_by=9)
    lines, _ = read("label-studio", [task(annotation(choice("good")), bob)], MAILS)
    assert [(line["labeler"], line["label"]) for line in lines] == [
        ("ann@example.com", "good"),
        ("label-studio-9", "bad"),
    ]


@pytest.mark.parametrize(
    ("item", "why"),
    [
        pytest.param(task(annotation(choice("good"), was_cancelled=True)), "cancelled", id="skipped"),
        pytest.param(task(predictions=[annotation(choice("good"))]), "prediction", id="prediction"),
        pytest.param(task(drafts=[annotation(choice("good"))]), "draft", id="draft"),
        pytest.param(task(), "unlabelled", id="no-annotation"),
        pytest.param(task(annotation()), "unlabelled", id="nothing-chosen"),
    ],
)
def test_what_no_annotator_submitted_is_left_out(item, why):
    lines, left = read("label-studio", [item], MAILS)
    assert lines == [] and why in [each[0] for each in left] and "wrong" not in [each[0] for each in left]


def test_ground_truth_is_a_labeler_of_its_own():
    lines, _ = read("label-studio", [task(annotation(choice("bad"), ground_truth=True))], MAILS)
    assert (lines[0]["labeler"], lines[0]["corrects"]) == ("ground-truth", True)


BOB = {"id": 2, "email": "bob@example.com"}


@pytest.mark.parametrize(
    ("changes", "labeler", "corrects"),
    [
        pytest.param({}, "ann@example.com", None, id="own"),
        pytest.param({"updated_by": 1, "last_action": "updated"}, "ann@example.com", None, id="own-update"),
        pytest.param({"updated_by": None}, "ann@example.com", None, id="nobody"),
        pytest.param({"updated_by": 2}, "label-studio-2", True, id="updated-by-another"),
        pytest.param({"updated_by": BOB}, "bob@example.com", True, id="updated-by-a-named-one"),
        pytest.param({"completed_by": "ann@example.com", "updated_by": 1}, "ann@example.com", None, id="unlike-names"),
        pytest.param({"last_action": "accepted"}, "ann@example.com", True, id="accepted"),
        pytest.param({"last_action": "fixed_and_accepted", "updated_by": 2}, "label-studio-2", True, id="fixed"),
        pytest.param({"last_action": ["accepted"]}, "ann@example.com", None, id="odd"),
    ],
)
def test_an_annotation_that_a_reviewer_changed_or_accepted_is_a_correction(changes, labeler, corrects):
    lines, left = read("label-studio", [task(annotation(choice("bad"), **changes))], MAILS)
    assert not left and (lines[0]["labeler"], lines[0].get("corrects")) == (labeler, corrects)


def test_a_mapped_field_says_that_a_label_corrects():
    item = task(annotation(choice("bad")))
    item["data"] |= {"second_look": "yes"}
    lines, _ = read("label-studio", [item], MAILS, columns={"second_look": "corrects"})
    assert lines[0]["corrects"] is True


def test_a_missing_annotator_is_the_given_labeler_or_a_reason():
    file = [task(annotation(choice("bad"), completed_by=None))]
    assert read("label-studio", file, MAILS, labeler="eva")[0][0]["labeler"] == "eva"
    lines, [(why, text)] = read("label-studio", file, MAILS)
    assert (lines, why) == ([], "wrong") and "--labeler" in text


@pytest.mark.parametrize(
    ("schema", "result", "label"),
    [
        pytest.param(STARS, {"type": "rating", "value": {"rating": 4}, "from_name": "r"}, 4, id="rating"),
        pytest.param(STARS, {"type": "number", "value": {"number": 2.5}, "from_name": "n"}, 2.5, id="number"),
        pytest.param(MAILS, {"type": "taxonomy", "value": {"taxonomy": [["all", "bad"]]}}, "bad", id="taxonomy"),
        pytest.param(MAILS, {"type": "textarea", "value": {"text": ["good"]}}, "good", id="text-area"),
    ],
)
def test_every_control_of_the_whole_example_is_a_label(schema, result, label):
    lines, left = read("label-studio", [task(annotation(result))], schema)
    assert [line["label"] for line in lines] == [label], left


def test_tags_are_all_choices_and_an_empty_submission_is_no_tag():
    lines, _ = read("label-studio", [task(annotation(choice("war", "art"))), task(annotation())], TOPICS)
    assert [line["label"] for line in lines] == [["war", "art"], []]
    assert lines[0]["inputs"] == {"body": "hello"}, "the only field of the task is its only text"


def test_two_choices_are_no_class_and_two_controls_need_a_name():
    both = task(annotation(choice("good", "bad")))
    assert "2 labels ('bad', 'good')" in read("label-studio", [both], MAILS)[1][0][1]
    controls = task(annotation(choice("good", control="a"), choice("bad", control="b")))
    assert "--map CONTROL=label" in read("label-studio", [controls], MAILS)[1][0][1]
    assert read("label-studio", [controls], MAILS, columns={"b": "label"})[0][0]["label"] == "bad"
    own = task(annotation(choice("good"), choice("bad", control="b")))
    assert read("label-studio", [own], MAILS)[0][0]["label"] == "good", "the control with the output's name"


def test_regions_are_no_label_of_the_whole_example():
    region = {"type": "rectanglelabels", "from_name": "box", "value": {"rectanglelabels": ["cat"], "x": 1}}
    [(why, text)] = read("label-studio", [task(annotation(region))], MAILS)[1]
    assert why == "wrong" and "regions ('rectanglelabels')" in text


def test_the_id_is_the_queues_own_or_the_mapped_field():
    item = task(annotation(choice("bad")), data={"text": "hello", "example_id": "m-1", "mail": 12})
    assert read("label-studio", [item], MAILS)[0][0]["id"] == "m-1"
    assert read("label-studio", [item], MAILS, columns={"mail": "id"})[0][0]["id"] == "12"


def test_json_min_is_the_same_opinion():
    flat = {"id": 3, "text": "hello", "annotation_id": 7, "annotator": 2, "created_at": "2026-01-01T00:00:00",
            "updated_at": "2026-01-01T00:00:00", "mood": "good"}  # fmt: skip
    [line] = read("label-studio", [flat], MAILS)[0]
    assert line == {"id": "label-studio-3", "inputs": {"text": "hello"}, "label": "good",
                    "labeler": "label-studio-2", "labeled_at": AT}  # fmt: skip
    [line] = read("label-studio", [{**flat, "mood": {"choices": ["bad"]}}], MAILS)[0]
    assert line["label"] == "bad"


def test_an_annotation_of_a_target_storage_holds_its_task():
    [line] = read("label-studio", {**annotation(choice("bad")), "task": {"id": 3, "data": {"text": "hello"}}}, MAILS)[0]
    assert (line["id"], line["label"]) == ("label-studio-3", "bad")


@pytest.mark.parametrize(
    ("given", "images", "uri"),
    [
        pytest.param("s3://pets/a.png", "", "s3://pets/a.png", id="its-own-uri"),
        pytest.param("/data/upload/3/1f-a.png", "s3://pets/in", "s3://pets/in/1f-a.png", id="upload"),
        pytest.param("https://x.org/b/a.png?sig=1", "s3://pets/", "s3://pets/a.png", id="url"),
        pytest.param("b/a.png", "s3://pets/", "s3://pets/b/a.png", id="relative"),
        pytest.param("../a.png", "s3://pets/", None, id="out-of-the-folder"),
        pytest.param("a.png", "", None, id="no-folder"),
    ],
)
def test_a_picture_is_a_uri_of_the_bucket(given, images, uri):
    item = task(annotation(choice("cat", control="pet")), data={"image": given})
    lines, left = read("label-studio", [item], PETS, images=images)
    assert [line["inputs"]["picture"] for line in lines] == [uri] * (uri is not None), left
    assert [why for why, _ in left] == ["wrong"] * (uri is None)


def test_other_fields_of_the_data_are_inputs_by_name():
    item = task(annotation(choice("yes", control="late")), data={"miles": 5, "night": True, "note": "x"})
    assert read("label-studio", [item], FLIGHTS)[0][0]["inputs"] == {"miles": 5, "night": True}


def test_a_truncated_export_is_refused_with_the_place():
    with pytest.raises(UnreadableFile, match="task 2: not JSON"):
        read("label-studio", b'[{"id": 1, "data": {}}, {"id": 2, "da', MAILS)
