"""What a task file may say of its inputs and its output, and what is stored of them."""

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ratchet.core.labels.schema import INPUT_TYPES, ExampleSchema, inputs_table

DECLARED: dict[str, dict[str, Any]] = {
    "number": {"min": 0, "max": 10},
    "category": {"values": ["a", "b"]},
    "boolean": {},
    "datetime": {},
    "text": {"chars_max": 80},
    "image": {"width": 4, "height": 2, "channels": 1},
    "vector": {"size": 3, "min": -1},
}
CLASSES = {"name": "late", "type": "category", "classes": ["no", "yes"]}
WHOLE = {"inputs": [{"name": f"a_{kind}", "type": kind, **DECLARED[kind]} for kind in INPUT_TYPES], "output": CLASSES}


def test_each_type_of_input_has_a_column_of_its_own():
    schema = ExampleSchema.model_validate(WHOLE)
    assert {field.name: str(field.type) for field in schema.inputs_type} == {
        "a_number": "double",
        "a_category": "string",
        "a_boolean": "bool",
        "a_datetime": "timestamp[us, tz=UTC]",
        "a_text": "string",
        "a_image": "fixed_size_binary[8]",
        "a_vector": "list<item: double>",
    }
    assert [each.name for each in schema.of_type("image", "text")] == ["a_text", "a_image"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (CLASSES, "string"),
        ({"type": "number", "tolerance": 0.5}, "double"),
        ({"type": "tags", "classes": ["a", "b"]}, "list<item: string>"),
    ],
)
def test_the_output_decides_what_a_label_is(output: dict[str, Any], expected: str):
    schema = ExampleSchema.model_validate({**WHOLE, "output": output})
    assert str(schema.label_type) == expected
    assert schema.rows_schema.names == ["id", "inputs", "label", "labeler", "labeled_at"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": []},
        {"inputs": [{"name": "a", "type": "number"}, {"name": "a", "type": "text"}]},
        {"inputs": [{"name": "no space", "type": "number"}]},
        {"inputs": [{"name": "a", "type": "numbers"}]},
        {"inputs": [{"name": "a", "type": "number", "min": 2, "max": 1}]},
        {"inputs": [{"name": "a", "type": "number", "min": True}]},
        {"inputs": [{"name": "a", "type": "number", "optional": "yes"}]},
        {"inputs": [{"name": "a", "type": "vector"}]},
        {"inputs": [{"name": "a", "type": "vector", "size": 0}]},
        {"inputs": [{"name": "a", "type": "image", "width": 9_999, "height": 1}]},
        {"inputs": [{"name": "a", "type": "image", "width": 9, "height": 9, "channels": 2}]},
        {"inputs": [{"name": "a", "type": "category", "values": ["x", "x"]}]},
        {"output": {"type": "category", "classes": ["a"]}},
        {"output": {"type": "category", "classes": ["a", ""]}},
        {"output": {"type": "number", "classes": ["a", "b"]}},
        {"output": {"type": "number", "tolerance": 0}},
    ],
)
def test_a_declaration_that_means_nothing_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        ExampleSchema.model_validate({**WHOLE, **wrong})


def test_a_version_from_before_inputs_had_names_is_read_as_the_only_vector():
    schema = ExampleSchema.model_validate(
        {"inputs": [{"name": "pixels", "type": "vector", "size": 2}], "output": CLASSES}
    )
    old = pa.table({"id": ["a", "b"], "features": [[1.0, 2.0], [3.0, 4.0]], "label": ["no", "yes"]})
    new = pa.table({"id": ["a", "b"], "inputs": [{"pixels": [1.0, 2.0]}, {"pixels": [3.0, 4.0]}]})
    assert inputs_table(old, schema).to_pydict() == inputs_table(new, schema).to_pydict()
    with pytest.raises(ValueError, match="inputs are expected"):
        inputs_table(old, ExampleSchema.model_validate(WHOLE))


def test_inputs_keep_their_nulls():
    schema = ExampleSchema.model_validate(WHOLE)
    rows = [{"id": "a", "inputs": {"a_number": 1.0, "a_image": b"12345678"}}, {"id": "b", "inputs": {"a_text": "x"}}]
    table = inputs_table(pa.Table.from_pylist(rows, schema=schema.rows_schema), schema)
    assert table.column_names == [each.name for each in schema.inputs]
    assert table["a_number"].to_pylist() == [1.0, None]
    assert table["a_text"].to_pylist() == [None, "x"]
