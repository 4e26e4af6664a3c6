"""The reader of text that people send: a value or a short reason, whatever the bytes; the count and ingest agree."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.output import print_json
from ratchet.actions.labels.reading import read_shard
from ratchet.adapters import parquet_shard
from ratchet.adapters.shard_counts import count_shard
from ratchet.core.errors import DataRejected
from ratchet.core.labels.measured import RejectedShard
from ratchet.core.labels.schema import CategoryOutput
from ratchet.core.labels.shards import (
    LINE_BYTES_MIN,
    ShardCounts,
    is_in_order,
    is_shard_key,
    landed_at_of,
    num_labels_max,
    parse_counts,
)
from ratchet.core.lines import BrokenLine, read_lines, split_lines
from ratchet.core.rollout.feedback import parse_feedback_lines
from ratchet.core.rollout.trace import parse_trace
from tests.models import vector_schema
from tests.unit.core.labels.test_labels import LINE, NOON
from wire.printable import printable, printable_lines
from wire.strict_json import LINE_BYTES_MAX, NotJson, parse_json

SCHEMA = vector_schema(("cat", "dog"), size=2)
GOOD = json.dumps(LINE).encode()
ODD = st.sampled_from(
    [GOOD, b"\xef\xbb\xbf", b"\n", b"\r\n", b"\r", b"\xe2\x80\xa8", b"\xc2\x85", b"\0", b"\xff", b'"\\ud800"', b"NaN",
     b"1e999", b"9" * 400, b"9" * 5000, b"[" * 70, b"]" * 70, b"[" * 2000, b'{"id":1,"id":2}', b"{", b"}", b"true"]
)  # fmt: skip
BYTES = st.one_of(st.binary(max_size=200), st.lists(ODD, max_size=6).map(b"".join))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"{", "not JSON (Expecting property name", id="cut-off"),
        pytest.param(b"\xff\xfe{", "not UTF-8 (byte 1 of it)", id="utf-16"),
        pytest.param(b"[NaN]", "NaN is no JSON number", id="nan"),
        pytest.param(b"[-Infinity]", "-Infinity is no JSON number", id="infinity"),
        pytest.param(b"[1e999]", "too large (1e999", id="infinite-float"),
        pytest.param(b"[" + b"9" * 400 + b"]", "too large (400 digits", id="400-digits"),
        pytest.param(b"9" * 5000, "too large (5,000 digits", id="5000-digits"),
        pytest.param(b'{"id": 1, "id": 2}', "the name 'id' is given twice", id="twice"),
        pytest.param(b'{"a": {"\\ud800": 1}}', "half of a surrogate pair", id="surrogate-in-a-name"),
        pytest.param(b'["\\uDC00"]', "half of a surrogate pair", id="surrogate"),
        pytest.param(b"[" * 65 + b"]" * 65, "deeper than 64 levels", id="65-levels"),
        pytest.param(b"[" * 100_000, "deeper than 64 levels", id="a-bomb"),
        pytest.param(b'"a\x00"', "not JSON (Invalid control character", id="nul"),
        pytest.param(b" " * (LINE_BYTES_MAX + 1), "too long (16,777,217 bytes; the limit", id="too-long"),
    ],
)
def test_what_is_no_json_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(NotJson) as refused:
        parse_json(data)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("data", "values"),
    [
        pytest.param(b'\xef\xbb\xbf{"a": 1}', [(1, {"a": 1})], id="byte-order-mark"),
        pytest.param(b"\xef\xbb\xbf\n1", [(2, 1)], id="byte-order-mark-alone"),
        pytest.param(b"1\r\n2\r\n", [(1, 1), (2, 2)], id="crlf"),
        pytest.param(b"1\n\n \t\n2", [(1, 1), (4, 2)], id="blank-lines-and-no-newline-at-the-end"),
        pytest.param('"a\u2028b\u0085c"\n2'.encode(), [(1, "a\u2028b\u0085c"), (2, 2)], id="line-separators"),
        pytest.param(b'"\\ud83d\\ude00"', [(1, "\U0001f600")], id="a-whole-surrogate-pair"),
        pytest.param(b"[" * 64 + b"]" * 64, [(1, json.loads("[" * 64 + "]" * 64))], id="64-levels"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_only_newlines_end_a_line(data: bytes, values: list[tuple[int, Any]]) -> None:
    assert [tuple(line) for line in read_lines(split_lines(data))] == values


@given(BYTES)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_values_or_short_printable_reasons(data: bytes) -> None:
    for line in read_lines(split_lines(data)):
        if isinstance(line, BrokenLine):
            assert len(line.excerpt) <= 200
            assert len(line.reason) < 200
            assert line.text().isprintable()
        else:
            json.dumps(line.value, ensure_ascii=False, allow_nan=False).encode()


@given(BYTES, st.sampled_from(["jsonl", "parquet"]))
@settings(max_examples=200, deadline=None)
def test_the_count_and_ingest_agree_on_any_shard(data: bytes, kind: str) -> None:
    """What ingest takes in is what was counted; what it sets aside has a reason that can be stored and shown."""
    counted = count_shard(f"t/2026/01/01/x.{kind}", data)
    try:
        labels = read_shard(f"x.{kind}", data, schema=SCHEMA)
    except DataRejected as error:
        reason = RejectedShard.of("x", error)
        assert reason.model_dump_json()
        assert len(reason.reason) <= 600
        assert reason.reason.isprintable()
    else:
        assert counted.is_whole
        assert counted.num_labels == labels.num_rows == sum((counted.num_by_labeler or {}).values())
        assert counted.num_labels <= num_labels_max(f"x.{kind}", len(data))


@given(BYTES)
@settings(max_examples=100, deadline=None)
def test_feedback_and_traces_are_read_or_refused(data: bytes) -> None:
    for read in (
        lambda: parse_feedback_lines(data, output=CategoryOutput(classes=("cat", "dog")), now=NOON, where="f"),
        lambda: parse_trace(data, where="t"),
    ):
        try:
            read()
        except DataRejected as error:
            assert len(str(error)) < 1_000


@settings(deadline=None)
@given(st.text(max_size=30), st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=300))
def test_nothing_printed_can_raise_or_break_a_line(name: str, more: str) -> None:
    shown = printable(name + more)
    shown.encode()
    assert len(shown) <= 200
    assert shown.isprintable()
    printable_lines(name + more).encode()
    print_json({"id": name + more, "ratio": float("nan"), "bounds": [float("inf")]})


def label_fields(**changes: object) -> bytes:
    return json.dumps({**LINE, **changes}).encode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"features": {"a": 1}}, "`features` must be a list of 2 numbers, found an object", id="object"),
        pytest.param({"features": [True, 1]}, "`features[0]` must be a finite number, found true", id="true"),
        pytest.param({"features": [1, "3"]}, "`features[1]` must be a finite number, found '3'", id="text"),
        pytest.param({"features": [1, None]}, "`features[1]` must be a finite number, found null", id="null"),
        pytest.param({"features": [[1], 2]}, "`features[0]` must be a finite number, found a list of 1", id="list"),
        pytest.param({"label": True}, "`label` must be a text: the name of a class, in quotes, found true", id="label"),
        pytest.param({"id": 7}, "`id` must be a text of 1 to 256 characters, found 7", id="id-number"),
        pytest.param({"id": "x" * 300}, "found 'xxx", id="long-id"),
        pytest.param({"label": "x" * 10_000}, "found 'xxx", id="long-label"),
        pytest.param({"labeled_at": True}, "`labeled_at` must be a time with its zone", id="time-true"),
        pytest.param({"labeled_at": "9999-12-31T23:59:59-12:00"}, "from 1900 to 2200", id="time-overflows"),
        pytest.param({"\ud800": 1}, "half of a surrogate pair", id="surrogate-field"),
        pytest.param({"a\nb" * 100: 1}, "is not a field here", id="long-field"),
    ],
)
def test_a_wrong_field_is_told_in_the_words_of_the_file(change: dict[str, object], reason: str) -> None:
    with pytest.raises(DataRejected) as refused:
        read_shard("a.jsonl", GOOD + b"\n" + label_fields(**change), schema=SCHEMA)
    assert str(refused.value).startswith("a.jsonl, line 2: ")
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 700
    assert "Input should" not in str(refused.value)


@pytest.mark.parametrize(
    ("said", "num"),
    [
        pytest.param("20", 20, id="just-fits"),
        pytest.param("21", None, id="one-more-than-fits"),
        pytest.param("9" * 400, None, id="400-digits"),
        pytest.param("9" * 5000, None, id="5000-digits"),
        pytest.param("1e309", None, id="float"),
        pytest.param("-1", None, id="negative"),
        pytest.param("١٢", None, id="other-digits"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_count_is_believed_only_as_far_as_the_shard_can_hold_it(said: str, num: int | None) -> None:
    num_max = num_labels_max("a.jsonl", 20 * (LINE_BYTES_MIN + 1) - 1)
    assert parse_counts({"num-labels": said}, num_max=num_max) == ShardCounts(num_labels=num)


@pytest.mark.parametrize(
    ("path", "is_key", "is_placed"),
    [
        pytest.param("2026/01/01/01KDWJHB00" + "0" * 16, True, True, id="of-its-day"),
        pytest.param("2026/01/02/01KDWJHB00" + "0" * 16, True, True, id="a-day-off-in-another-zone"),
        pytest.param("2026/01/04/01KDWJHB00" + "0" * 16, True, False, id="three-days-off"),
        pytest.param("2026/99/99/01KDWJHB00" + "0" * 16, True, False, id="month-99"),
        pytest.param("9999/12/31/7ZZZZZZZZZ" + "Z" * 16, True, True, id="year-10889"),
        pytest.param("2026/01/01/ZZZZZZZZZZ" + "Z" * 16, True, False, id="no-ulid-of-any-time"),
        pytest.param("٢٠٢٦/01/01/01KDWJHB00" + "0" * 16, False, False, id="other-digits"),
    ],
)
def test_any_key_has_a_place_or_is_set_aside(path: str, is_key: bool, is_placed: bool) -> None:
    key = f"digits/{path}.jsonl"
    assert (is_shard_key(key, "digits"), is_in_order(key)) == (is_key, is_placed)
    if is_key:
        assert landed_at_of(key).year <= 9999


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def rows(num: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": [f"e{number}" for number in range(num)],
        "features": [[0.0, 1.0]] * num,
        "label": ["cat"] * num,
        "labeler": ["ada"] * num,
        "labeled_at": pa.array([NOON] * num, pa.timestamp("us", tz="UTC")),
        **changes,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        pytest.param(
            {"features": pa.array([[0.0] * 40_000] * 1_000, pa.list_(pa.float64()))},
            "40,000,000 values in one column; the limit is 33,554,432",
            id="a-bomb-of-numbers",
        ),
        pytest.param(
            {"label": pa.DictionaryArray.from_arrays([0] * 1_000, ["x" * 2_000_000])},
            "a text in `label` has 2,000,000 bytes",
            id="of-texts",
        ),
        pytest.param({"more": list(range(1_000))}, "column `more` is not a field of a label", id="unknown-column"),
        pytest.param({"features": ["a"] * 1_000}, "column `features` must be a list of numbers", id="no-list"),
        pytest.param({"id": [["a"]] * 1_000}, "column `id` must be one value a row", id="nested"),
        pytest.param({"features": [[True, False]] * 1_000}, "`features` must be a list of numbers", id="true"),
        pytest.param({"id": pa.array([b"\xff"] * 1_000)}, "row", id="not-utf8"),
    ],
)
def test_a_parquet_shard_beyond_the_limits_is_refused_before_it_fills_the_memory(
    columns: dict[str, Any], reason: str
) -> None:
    data = parquet(**rows(1_000, **columns))
    assert len(data) < 200_000
    with pytest.raises(DataRejected, match=reason):
        read_shard("a.parquet", data, schema=SCHEMA)
    count_shard("a.parquet", data)


def test_a_parquet_shard_has_as_many_rows_as_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = parquet(**rows(100))
    assert read_shard("a.parquet", data, schema=SCHEMA).num_rows == count_shard("a.parquet", data).num_labels == 100
    monkeypatch.setattr(parquet_shard, "ROWS_MAX", 99)
    with pytest.raises(DataRejected, match="100 rows; the limit is 99"):
        read_shard("a.parquet", data, schema=SCHEMA)
    assert count_shard("a.parquet", data) == ShardCounts()
