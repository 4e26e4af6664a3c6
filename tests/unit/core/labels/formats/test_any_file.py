"""What holds for every reader, whatever the file holds."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.labels.formats.items import UnreadableFile
from ratchet.core.labels.formats.registry import READERS, guess_format
from tests.unit.core.labels.formats.reading import PETS, TOPICS, read
from tests.unit.core.labels.formats.test_label_studio import annotation, choice, task
from tests.unit.core.labels.formats.test_pictures import COCO, CVAT, DATUMARO
from tests.unit.core.labels.formats.test_texts_and_tables import CSV, RECORD, SERVED

SAMPLES = [
    json.dumps([task(annotation(choice("good")))]),
    json.dumps(COCO),
    CVAT,
    CSV,
    json.dumps(DATUMARO),
    json.dumps(RECORD),
    '{"id": 1, "text": "a", "label": ["good"]}',
]
NAMES = [
    "id",
    "data",
    "annotations",
    "result",
    "label",
    "fields",
    "responses",
    "text",
    "annotation",
    "images",
    "items",
    "categories",
    "completed_by",
    "value",
    "type",
    "from_name",
    "choices",
    "inputs",
    "task",
    "status",
    "user_id",
    "values",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


def outcome(name: str, data: bytes) -> None:
    for schema in (PETS, TOPICS):
        try:
            lines, left = read(name, data, schema, labeler="eva", images="s3://x/")
        except UnreadableFile as error:
            assert str(error).isprintable()
            continue
        assert all(
            set(line) <= {"id", "inputs", "features", "label", "labeler", "labeled_at", "corrects"} or name == "jsonl"
            for line in lines
        )
        assert all(text.isprintable() for _, text in left)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25, deadline=None)
@given(value=VALUES)
def test_any_json_is_lines_or_reasons(name, value):
    outcome(name, json.dumps(value).encode())


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES), start=st.integers(0, 500), end=st.integers(0, 2_000), junk=st.binary(max_size=6)
)
def test_any_damaged_file_is_lines_or_reasons(name, sample, start, end, junk):
    data = sample.encode()
    outcome(name, data[:start] + junk + data[start:end])


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        pytest.param("x.json", json.dumps([task()]), "label-studio", id="label-studio"),
        pytest.param("x.json", json.dumps(task(), indent=2), "label-studio", id="one-task"),
        pytest.param("x.json", json.dumps(COCO), "coco", id="coco"),
        pytest.param("x.xml", CVAT, "cvat", id="cvat"),
        pytest.param("x.json", json.dumps(DATUMARO, indent=1), "cvat", id="datumaro"),
        pytest.param("x.csv", CSV, "csv", id="csv"),
        pytest.param("x.json", json.dumps([SERVED]), "argilla", id="argilla"),
        pytest.param("x.jsonl", '{"id": 1, "text": "a", "label": ["good"]}\n{}', "doccano", id="doccano"),
        pytest.param("x.jsonl", '{"id": 1, "text": "a", "annotations": [{"label": 1}]}', "doccano", id="doccano-1"),
        pytest.param("x.jsonl", '{"id": "a", "inputs": {"text": "a"}, "label": "b"}', "jsonl", id="jsonl"),
        pytest.param("x", "PAR1", "parquet", id="parquet"),
        pytest.param("x.json", '{"text": "a", "label": "b"}', None, id="unclear"),
        pytest.param("x.txt", "hello", None, id="text"),
    ],
)
def test_the_format_is_told_from_the_file_where_it_is_clear(name, data, found):
    assert guess_format(name, data.encode()) == found
