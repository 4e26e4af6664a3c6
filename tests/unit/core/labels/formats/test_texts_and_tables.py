"""doccano, Argilla, CSV, JSON lines and Parquet."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.core.labels.formats.items import UnreadableFile
from ratchet.core.labels.schema import ExampleSchema, TextInput
from tests.unit.core.labels.formats.reading import AT, DIGITS, FLIGHTS, MAILS, SEEN, STARS, TOPICS, read

EVA = {"labeler": "eva"}


def labels_of(name, file, schema, **given):
    return [(line["id"], line["label"], line["labeler"]) for line in read(name, file, schema, **given)[0]]


def test_doccano_lines_are_opinions_of_the_given_labeler():
    file = '{"id": 5, "text": "hi", "label": ["good"], "Comments": []}\n{"id": 6, "text": "oh", "label": []}\n'
    lines, left = read("doccano", file, MAILS, **EVA)
    assert lines == [{"id": "doccano-5", "inputs": {"text": "hi"}, "label": "good", "labeler": "eva", "labeled_at": AT}]
    assert [why for why, _ in left] == ["unlabelled"]


@pytest.mark.parametrize(
    ("schema", "item", "label"),
    [
        pytest.param(MAILS, {"id": 1, "text": "a", "labels": ["bad"]}, ("doccano-1", "bad", "eva"), id="labels"),
        pytest.param(
            MAILS, {"id": 1, "text": "a", "cats": ["bad"], "entities": []}, ("doccano-1", "bad", "eva"), id="cats"
        ),
        pytest.param(
            MAILS, {"id": 1, "text": "a", "label": ["bad"], "example_id": "m"}, ("m", "bad", "eva"), id="own-id"
        ),
        pytest.param(
            MAILS,
            {"id": 1, "text": "a", "annotations": [{"label": "bad", "user": 3}]},
            ("doccano-1", "bad", "doccano-3"),
            id="version-1",
        ),
        pytest.param(
            MAILS,
            {"id": 1, "text": "a", "labels": ["bad"], "annotation_approver": "bob"},
            ("doccano-1", "bad", "bob"),
            id="approver",
        ),
        pytest.param(STARS, {"id": 1, "text": "a", "label": ["4"]}, ("doccano-1", 4.0, "eva"), id="number"),
        pytest.param(
            TOPICS, {"id": 1, "text": "a", "label": ["art", "law"]}, ("doccano-1", ["art", "law"], "eva"), id="tags"
        ),
        pytest.param(SEEN, {"filename": "a.png", "label": ["cat"]}, ("a.png", ["cat"], "eva"), id="picture"),
    ],
)
def test_each_shape_of_doccano_is_read(schema, item, label):
    assert labels_of("doccano", item, schema, images="s3://x/", **EVA) == [label], read("doccano", item, schema, **EVA)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        pytest.param({"text": "a", "label": [[0, 1, "PER"]]}, "spans", id="spans"),
        pytest.param({"text": "a", "annotations": [{"label": 4, "user": 1}]}, "numbers of doccano", id="numbers"),
        pytest.param({"text": "a"}, "none of the fields", id="no-label"),
        pytest.param({"text": "a", "label": ["good"]}, "no id", id="no-id"),
        pytest.param({"id": 1, "text": "a", "label": ["good", "bad"]}, "2 labels", id="two"),
    ],
)
def test_what_doccano_has_beside_is_a_reason(item, reason):
    lines, [(why, text)] = read("doccano", item, MAILS, **EVA)
    assert (lines, why) == ([], "wrong") and reason in text


RECORD = {
    "id": "r-1",
    "fields": {"text": "hi"},
    "metadata": {},
    "suggestions": {"mood": {"value": "bad", "score": 0.9, "agent": "m"}},
    "responses": {
        "mood": [
            {"value": "good", "user_id": "u-1", "status": "submitted"},
            {"value": "bad", "user_id": "u-2", "status": "draft"},
            {"value": "bad", "user_id": "u-3", "status": "discarded"},
        ]
    },
}
SERVED = {
    "id": "r-1",
    "fields": {"text": "hi"},
    "responses": [
        {"user_id": "u-1", "status": "submitted", "values": {"mood": {"value": "good"}},
         "inserted_at": "2026-01-01T00:00:00.000001"},
        {"user_id": "u-2", "status": "discarded", "values": None},
    ],
}  # fmt: skip


def test_argillas_submitted_responses_are_opinions():
    lines, left = read("argilla", [RECORD], MAILS)
    assert lines == [{"id": "r-1", "inputs": {"text": "hi"}, "label": "good", "labeler": "u-1", "labeled_at": AT}]
    assert [why for why, _ in left] == ["prediction", "draft", "cancelled"]


@pytest.mark.parametrize(
    ("item", "label"),
    [
        pytest.param(SERVED, ("r-1", "good", "u-1"), id="server"),
        pytest.param({"items": [SERVED], "total": 1}, ("r-1", "good", "u-1"), id="page-of-the-server"),
        pytest.param(
            {"id": "o", "text": "hi", "annotation": "bad", "annotation_agent": "bob", "prediction": None},
            ("o", "bad", "bob"),
            id="version-1",
        ),
        pytest.param(
            {**RECORD, "id": None, "external_id": "e", "suggestions": {}}, ("e", "good", "u-1"), id="external"
        ),
    ],
)
def test_each_shape_of_argilla_is_read(item, label):
    assert labels_of("argilla", item, MAILS) == [label]


def test_two_questions_of_argilla_need_a_name():
    item = {**RECORD, "responses": {"a": [{"value": "good"}], "b": [{"value": "bad"}]}}
    assert "--map QUESTION=label" in read("argilla", item, MAILS, **EVA)[1][-1][1]
    assert labels_of("argilla", item, MAILS, columns={"b": "label"}, **EVA) == [("r-1", "bad", "eva")]


CSV = """id,miles,night,start,shape,late,labeler,labeled_at
f-1,12.5,yes,2026-01-01T10:00:00Z,"[1, 2]",no,ann,2026-01-05 10:00:00+02:00
f-2,7,0,,,yes,bob,
f-3,7,0,,,,bob,
f-4,7,0
"""


def test_cells_take_the_type_of_their_input():
    lines, left = read("csv", CSV, FLIGHTS)
    assert lines[0] == {
        "id": "f-1",
        "inputs": {"miles": 12.5, "night": True, "start": "2026-01-01T10:00:00Z", "shape": [1, 2]},
        "label": "no",
        "labeler": "ann",
        "labeled_at": "2026-01-05T10:00:00+02:00",
    }
    assert lines[1]["inputs"] == {"miles": 7.0, "night": False} and lines[1]["labeled_at"] == AT
    assert left == [("unlabelled", "not labelled yet"), ("wrong", "3 cells; the header has 8")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_mapped_header_with_any_separator(separator):
    rows = [["key", "words", "said", "who"], ["a", "hello", "good", "ann"]]
    file = b"\xef\xbb\xbf" + "\r\n".join(separator.join(row) for row in rows).encode()
    columns = {"key": "id", "words": "text", "said": "label", "who": "labeler"}
    assert labels_of("csv", file, MAILS, columns=columns) == [("a", "good", "ann")]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        pytest.param(b"id,text,mood\na,\xff,good\n", "line 2: not UTF-8", id="latin-1"),
        pytest.param("id,id,mood\n", "same name: 'id'", id="two-columns"),
        pytest.param("id,text\na,b\n", "no column `mood`", id="no-label"),
        pytest.param('id,text,mood\na,"b,good\n', "unexpected end", id="open-quote"),
        pytest.param("id,text,mood\na," + "x" * 5_000_000 + ",good\n", "field larger", id="huge-cell"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(file, reason):
    with pytest.raises(UnreadableFile, match=reason):
        read("csv", file, MAILS, **EVA)


@pytest.mark.parametrize(
    ("cell", "tags"),
    [("art|war", ["art", "war"]), ('["law"]', ["law"]), ("law", ["law"]), ("[]", []), ('{"choices":["art"]}', ["art"])],
)
def test_tags_in_one_cell(cell, tags):
    quoted = '"' + cell.replace('"', '""') + '"'
    assert [line["label"] for line in read("csv", f"id,body,topics\na,b,{quoted}\n", TOPICS, **EVA)[0]] == [tags]


def test_label_lines_pass_and_a_broken_line_is_left_out():
    line = '{"id": "a", "features": [0, 1], "label": "1", "labeler": "ann", "labeled_at": "2026-01-01T00:00:00Z"}'
    file = f'{line}\n{{"id": "b", "features": [0, 1], "audit": true, "champion": {{"label": "0"}}}}\n{{"id": \n'
    lines, left = read("jsonl", file, DIGITS)
    assert [each["id"] for each in lines] == ["a"] and lines[0]["labeled_at"] == AT
    assert [why for why, _ in left] == ["unlabelled", "wrong"]


def test_flat_lines_are_rows():
    assert labels_of("jsonl", {"id": 1, "text": "a", "label": "good"}, MAILS, **EVA) == [("1", "good", "eva")]


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def test_a_parquet_table_is_rows():
    table = pa.table(
        {"key": [1, 2], "text": ["a", "b"], "said": ["good", None], "at": pa.array([0, 1], pa.timestamp("s"))}
    )
    columns = {"key": "id", "said": "label", "at": "labeled_at"}
    lines, left = read("parquet", parquet(table), MAILS, columns=columns, **EVA)
    assert lines == [
        {"id": "1", "inputs": {"text": "a"}, "label": "good", "labeler": "eva", "labeled_at": "1970-01-01T00:00:00Z"}
    ]
    assert [why for why, _ in left] == ["unlabelled"]


def test_a_small_parquet_file_that_unpacks_to_gigabytes_is_refused():
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000), ["x" * 1_000_000])
    table = pa.table({"id": ["a"] * 2_000, "text": texts, "mood": ["good"] * 2_000})
    data = parquet(table)
    assert len(data) < 1_000_000
    with pytest.raises(UnreadableFile, match="bytes; the limit is"):
        read("parquet", data, MAILS, **EVA)


def test_a_damaged_parquet_file_is_refused():
    with pytest.raises(UnreadableFile, match="not a Parquet file"):
        read("parquet", b"PAR1 and nothing", MAILS)


@pytest.mark.parametrize(
    ("cell", "corrects"),
    [
        ("true", True), (" Yes", True), ("1", True), ("false", None), ("no", None), ("", None), ("maybe", "maybe"),
    ],
)  # fmt: skip
def test_a_column_says_that_a_row_corrects(cell, corrects):
    lines, _ = read("csv", f"id,text,mood,corrects\na,hi,good,{cell}\n", MAILS, **EVA)
    assert lines[0].get("corrects") == corrects, "what is no boolean is named by the parser of label lines"
    lines, _ = read("csv", f"id,text,mood,fixed\na,hi,good,{cell}\n", MAILS, columns={"fixed": "corrects"}, **EVA)
    assert lines[0].get("corrects") == corrects


def test_other_tables_say_that_a_row_corrects():
    row = {"id": "a", "text": "hi", "mood": "good", "corrects": True}
    assert read("jsonl", row, MAILS, **EVA)[0][0]["corrects"] is True
    line = {"id": "a", "inputs": {"text": "hi"}, "label": "good", "labeler": "ann", "labeled_at": AT, "corrects": "x"}
    assert read("jsonl", line, MAILS)[0] == [line], "a label line passes as it is"
    buffer = io.BytesIO()
    pq.write_table(
        pa.table({"id": ["a", "b"], "text": ["x", "y"], "mood": ["good"] * 2, "corrects": [True, None]}), buffer
    )
    assert [line.get("corrects") for line in read("parquet", buffer.getvalue(), MAILS, **EVA)[0]] == [True, None]
    record = {**RECORD, "metadata": {"corrects": True}}
    assert {line.get("corrects") for line in read("argilla", record, MAILS)[0]} == {True}


def test_what_an_approver_of_doccano_confirmed_is_a_correction():
    item = {"id": 1, "text": "a", "labels": ["bad"], "annotation_approver": "bob"}
    assert read("doccano", item, MAILS)[0][0]["corrects"] is True
    assert "corrects" not in read("doccano", {**item, "annotation_approver": None}, MAILS, **EVA)[0][0]


def test_an_input_of_that_name_is_no_mark():
    schema = ExampleSchema(inputs=(TextInput(name="corrects"),), output=MAILS.output)
    lines, _ = read("csv", "id,corrects,mood,second\na,yes,good,no\n", schema, **EVA)
    assert lines[0]["inputs"] == {"corrects": "yes"} and "corrects" not in lines[0]
