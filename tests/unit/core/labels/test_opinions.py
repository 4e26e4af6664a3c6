"""The two ways to read a shard: what is taken in by column would be taken in line by line, with the same values."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.actions.labels.reading import iter_opinions, read_shard
from ratchet.adapters.parquet_shard import read_parquet_table
from ratchet.core.errors import DataRejected
from ratchet.core.labels.opinions import read_lines_as_table
from ratchet.core.labels.parsing import NEXT_STEP
from ratchet.core.labels.rendering import render_opinion
from ratchet.core.labels.schema import ExampleSchema

INPUTS = [
    {"name": "distance", "type": "number", "min": 0},
    {"name": "delay", "type": "number", "optional": True},
    {"name": "carrier", "type": "category", "values": ["AA", "ünited"]},
    {"name": "plane", "type": "category", "optional": True},
    {"name": "is_night", "type": "boolean"},
    {"name": "left_at", "type": "datetime", "optional": True},
    {"name": "remark", "type": "text", "chars_max": 40, "optional": True},
    {"name": "wind", "type": "vector", "size": 2, "optional": True},
]
OUTPUTS: dict[str, dict[str, Any]] = {
    "category": {"type": "category", "classes": ["no", "yes"]},
    "number": {"type": "number", "min": -1e300},
    "tags": {"type": "tags", "classes": ["a", "b", "c"]},
}
LABELS: dict[str, Any] = {"category": "yes", "number": 2.5, "tags": ["c", "a"]}
TYPED = {name: ExampleSchema.model_validate({"inputs": INPUTS, "output": output}) for name, output in OUTPUTS.items()}
SHORT = ExampleSchema.model_validate(
    {"inputs": [{"name": "pixels", "type": "vector", "size": 2}], "output": OUTPUTS["category"]}
)
GOOD_INPUTS = {
    "distance": 3.25,
    "delay": -1,
    "carrier": "ünited",
    "plane": "N1",
    "is_night": True,
    "left_at": "2026-01-31T09:00:00.5+01:30",
    "remark": 'line\u2028separator "quoted" \\',
    "wind": [1e-7, 2],
}
SAID = {"id": "a", "label": "yes", "labeler": "ada", "labeled_at": "2026-01-31T09:00:00Z"}
SHORT_LINE = {**SAID, "features": [0, 1.5]}
WEIRD = (
    "NaN", "-Infinity", "1e400", "-1e400", "1e-400", "9007199254740993", "1" + "0" * 309, "-0", "-0.0", "01", "1.",
    ".5", "+1", "1E5", "true", "false", "null", '""', '"3"', '"\\ud800"', '"\\udc00"', '"\\ud83d\\ude00"', '"\\u0000"',
    '"a\tb"', "[]", "[1]", "[1,2]", "[1,null]", "[1,2,3]", '["a"]', '["a","a"]', '["b","a"]', '["z"]', "[[1,2]]",
    "[true,1]", "{}",
    '{"a":1}', '"2026-01-31T09:00:00"', '"2026-02-30T09:00:00Z"', '"2026-01-31T24:00:00Z"', '"2026-01-31T23:59:60Z"',
    '"2026-01-31 09:00:00Z"', '"2026-01-31T09:00:00.1234567Z"', '"2026-01-31T09:00:00+23:59"', '"2026-01-31T09:00Z"',
    '"2026-01-31T09:00:00z"', '"1899-12-31T23:59:59Z"', '"2200-12-31T23:59:59-05:00"', '"1900-01-01T00:30:00+01:00"',
    "1767225600", "1767225600000", '"1767225600"', "0.1", "1e308", "5e-324", '"AA"', '"ünited"', '"no"',
    '"' + "x" * 41 + '"',
    '"' + "é" * 257 + '"', '"\xef\xbb\xbf"',
)  # fmt: skip
RAW_LINES = (
    b"", b" ", b"\t", b"{}", b"{} {}", b"[1]", b"null", b'"x"', b"{", b"}", b"\xef\xbb\xbf", b"\xff", b"\x00", b"{}x",
    b"{}\r{}", b"//", b'{"id":"a"}{"id":"b"}',
)  # fmt: skip
JOINTS = (b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\r", b" \n", b"\n ", b"", b" ", b"\xe2\x80\xa8", b",\n")


def rendered(fields: Sequence[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields) + "}"


@st.composite
def objects(draw: Any, fields: dict[str, Any]) -> str:
    """An object with some values broken, doubled, left out, renamed or moved."""
    found = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in fields.items()]
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(found) - 1))
        what = draw(st.sampled_from(["value", "value", "value", "drop", "twice", "rename", "move"]))
        name, value = found[place]
        if what == "value":
            found[place] = (name, draw(st.sampled_from(WEIRD)))
        elif what == "drop" and len(found) > 1:
            del found[place]
        elif what == "twice":
            found.append((name, draw(st.sampled_from([value, *WEIRD[:20]]))))
        elif what == "rename":
            found[place] = (draw(st.sampled_from([name + "x", name.upper(), "uri", "features", "inputs"])), value)
        else:
            found.append(found.pop(place))
    return rendered(found)


@st.composite
def files(draw: Any, kind: str) -> bytes:
    lines: list[bytes] = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 11)) == 0:
            lines.append(draw(st.sampled_from(RAW_LINES)))
            continue
        told = draw(st.sampled_from([{}, {"corrects": True}, {"corrects": False}, {"corrects": None}]))
        if kind == "short":
            line = draw(objects({name: json.dumps(value) for name, value in {**SHORT_LINE, **told}.items()}))
        else:
            inputs = draw(objects({name: json.dumps(value) for name, value in GOOD_INPUTS.items()}))
            said = {**SAID, **told, "label": LABELS[kind]}
            line = draw(objects({**{name: json.dumps(value) for name, value in said.items()}, "inputs": inputs}))
        lines.append(line.encode(errors="surrogatepass"))
    joints = [draw(st.sampled_from(JOINTS)) if draw(st.integers(0, 5)) == 0 else b"\n" for _ in lines]
    return b"".join(line + joint for line, joint in zip(lines, joints, strict=True))


def schema_of(kind: str) -> ExampleSchema:
    return SHORT if kind == "short" else TYPED[kind]


def by_line(data: bytes, schema: ExampleSchema) -> pa.Table:
    rows = [row for _, row in iter_opinions(data, "a.jsonl", schema=schema)]
    return pa.Table.from_pylist(rows, schema=schema.opinions_schema)


def good_line(kind: str, **changes: Any) -> bytes:
    line = SHORT_LINE if kind == "short" else {**SAID, "label": LABELS[kind], "inputs": GOOD_INPUTS}
    return json.dumps({**line, **changes}, ensure_ascii=False).encode()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["short", *OUTPUTS])
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_what_is_taken_in_by_column_is_taken_in_by_line_with_the_same_values(kind: str, data: Any) -> None:
    schema, file = schema_of(kind), data.draw(files(kind))
    table = read_lines_as_table(file, schema)
    if table is not None:
        assert table.to_pylist() == by_line(file, schema).to_pylist()
        assert table.schema == schema.opinions_schema


@pytest.mark.parametrize("kind", ["short", *OUTPUTS])
@pytest.mark.parametrize("joint", [b"\n", b"\r\n"])
def test_a_regular_file_goes_by_column(kind: str, joint: bytes) -> None:
    schema = schema_of(kind)
    file = joint.join(good_line(kind, id=f"é{number}") for number in range(5))
    for data in (file, file + joint):
        table = read_lines_as_table(data, schema)
        assert table is not None
        assert (
            table.to_pylist()
            == by_line(data, schema).to_pylist()
            == read_shard("a.jsonl", data, schema=schema).to_pylist()
        )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"distance": -3}, "`inputs.distance` is -3, expected at least 0"),
        ({"distance": "3"}, "`inputs.distance` must be a finite number, found '3'"),
        ({"distance": None}, "`inputs.distance` must not be null; it must be a finite number"),
        ({"carrier": "ZZ"}, "`inputs.carrier` must be one of 'AA', 'ünited', found 'ZZ'"),
        ({"is_night": 1}, "`inputs.is_night` must be true or false, found 1"),
        ({"left_at": 1767225600}, "`inputs.left_at` must be a time with its zone from 1900 to 2200, such as 2026"),
        ({"left_at": "2026-01-31T09:00:00"}, "`inputs.left_at` must be a time with its zone"),
        ({"remark": "x" * 41}, "`inputs.remark` must be a text of at most 40 characters, found 41 characters"),
        ({"wind": [1]}, "`inputs.wind` must be a list of 2 numbers, found 1"),
        ({"wind": [1, None]}, "`inputs.wind[1]` must be a finite number, found null"),
        ({"colour": 1}, "`inputs.colour` is not an input of the task; its inputs are `distance`, `delay`, "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_file_line_field_and_next_step(change: dict[str, Any], reason: str) -> None:
    lines = [good_line("category"), b"", good_line("category", inputs={**GOOD_INPUTS, **change})]
    with pytest.raises(DataRejected) as caught:
        read_shard("a.jsonl", b"\n".join(lines), schema=TYPED["category"])
    assert str(caught.value).startswith(f"a.jsonl, line 3: {reason}"), str(caught.value)
    assert str(caught.value).endswith("a shard that has landed never changes.")


@pytest.mark.parametrize(
    ("kind", "label", "reason"),
    [
        ("category", 3, "`label` must be a text: the name of a class, in quotes, found 3"),
        ("number", "3", "`label` must be a number, found '3'"),
        ("number", True, "`label` must be a number, found true"),
        ("tags", "a", "`label` must be a list of texts, found 'a'"),
        ("tags", ["a", "z"], "`label[1]` must be one of 'a', 'b', 'c', found 'z'"),
    ],
)
def test_a_wrong_label_is_named_by_the_type_of_the_output(kind: str, label: Any, reason: str) -> None:
    with pytest.raises(DataRejected, match=r"a\.jsonl, line 1") as caught:
        read_shard("a.jsonl", good_line(kind, label=label), schema=TYPED[kind])
    assert reason in str(caught.value)


@pytest.mark.parametrize("kind", ["short", *OUTPUTS])
def test_a_queue_mark_is_kept_by_column_by_line_and_as_it_is_pushed(kind: str) -> None:
    schema = schema_of(kind)
    lines = [good_line(kind, id="a", queue_mark="audit.blind.Zm9v"), good_line(kind), good_line(kind, queue_mark=None)]
    table = read_lines_as_table(b"\n".join(lines), schema)
    assert table is not None and table["queue_mark"].to_pylist() == ["audit.blind.Zm9v", None, None]
    assert table.to_pylist() == by_line(b"\n".join(lines), schema).to_pylist()
    pushed = b"".join(render_opinion(row, schema) for row in table.to_pylist())
    assert read_shard("a.jsonl", pushed, schema=schema).to_pylist() == table.to_pylist()
    assert pushed.count(b"queue_mark") == 1, "a line without a mark stays the same bytes as before there were marks"
    with pytest.raises(DataRejected, match="line 1: `queue_mark` must be a mark as `ratchet labels queue` writes it"):
        read_shard("a.jsonl", good_line(kind, queue_mark="audited"), schema=schema)


def test_a_short_line_may_name_its_input_and_not_twice() -> None:
    named = json.dumps({**SAID, "inputs": {"pixels": [0, 1.5]}}).encode()
    short, long = (read_shard("a.jsonl", data, schema=SHORT).to_pylist() for data in (good_line("short"), named))
    assert short == long
    mixed = read_shard("a.jsonl", good_line("short") + b"\n" + named, schema=SHORT)
    assert mixed.to_pylist() == short + long
    with pytest.raises(DataRejected, match="`features` and `inputs` are two names of one thing"):
        read_shard("a.jsonl", good_line("short", inputs={"pixels": [0, 1]}), schema=SHORT)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_parquet_by_column_and_by_row_are_one(kind: str) -> None:
    schema = TYPED[kind]
    table = by_line(b"\n".join(good_line(kind, id=f"e{number}") for number in range(3)), schema)
    for compressed in (table, table.slice(0, 1)):
        buffer = io.BytesIO()
        pq.write_table(compressed, buffer)
        found = read_parquet_table(buffer.getvalue(), schema, where="a.parquet")
        assert found is not None
        rows = [row for _, row in iter_opinions(buffer.getvalue(), "a.parquet", schema=schema)]
        assert found.to_pylist() == rows == compressed.to_pylist()


@pytest.mark.parametrize("kind", ["short", *OUTPUTS])
def test_whether_an_opinion_corrects_is_read_of_lines_and_of_parquet_and_is_false_where_it_is_not_told(
    kind: str,
) -> None:
    schema = schema_of(kind)
    told: list[dict[str, Any]] = [{"corrects": True}, {}, {"corrects": False}, {"corrects": None}]
    lines = b"\n".join(good_line(kind, id=f"e{number}", **each) for number, each in enumerate(told))
    table = read_lines_as_table(lines, schema)
    assert table is not None and table["corrects"].to_pylist() == [True, False, False, False]
    stored = {"all": table, "some": with_corrects(table, pa.array([True, None, False, None]))}
    stored["none"] = with_corrects(table, pa.nulls(4))
    stored["old"] = table.drop_columns("corrects")
    for name, each in stored.items():
        buffer = io.BytesIO()
        pq.write_table(each, buffer)
        found = read_shard("a.parquet", buffer.getvalue(), schema=schema)
        assert found["corrects"].to_pylist() == [name in {"all", "some"}, False, False, False], name
        assert found.drop_columns("corrects").equals(table.drop_columns("corrects"))


def with_corrects(table: pa.Table, column: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index("corrects"), "corrects", column)


@pytest.mark.parametrize(("value", "found"), [("yes", "'yes'"), (1, "1"), ([True], "a list of 1"), ({}, "an object")])
def test_a_correction_is_true_or_false(value: Any, found: str) -> None:
    lines = [good_line("category"), good_line("category", corrects=value)]
    with pytest.raises(DataRejected) as caught:
        read_shard("a.jsonl", b"\n".join(lines), schema=TYPED["category"])
    assert str(caught.value) == f"a.jsonl, line 2: `corrects` must be true or false, found {found}. {NEXT_STEP}"
    if isinstance(value, str | int):
        buffer = io.BytesIO()
        table = by_line(lines[0], TYPED["category"])
        pq.write_table(with_corrects(table, pa.array([value])), buffer)
        with pytest.raises(DataRejected, match=r"a\.parquet, row 1: `corrects` must be true or false, found "):
            read_shard("a.parquet", buffer.getvalue(), schema=TYPED["category"])


@pytest.mark.parametrize("kind", ["short", *OUTPUTS])
def test_a_pushed_line_keeps_that_it_corrects(kind: str) -> None:
    schema = schema_of(kind)
    changes: tuple[dict[str, Any], ...] = ({"corrects": True}, {})
    for told in changes:
        ((_, row),) = iter_opinions(good_line(kind, **told), "a.jsonl", schema=schema)
        line = render_opinion(row, schema)
        assert json.loads(line).get("corrects") == told.get("corrects")
        assert read_shard("b.jsonl", line, schema=schema).to_pylist() == by_line(line, schema).to_pylist()


def test_a_text_of_10_megabytes_is_refused_by_its_length() -> None:
    data = good_line("category", inputs={**GOOD_INPUTS, "remark": "x" * 10_000_000})
    with pytest.raises(DataRejected, match=r"at most 40 characters, found 10,000,000 characters"):
        read_shard("a.jsonl", data, schema=TYPED["category"])
