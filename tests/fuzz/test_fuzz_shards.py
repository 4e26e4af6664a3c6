"""Hostile label shards, JSONL and Parquet: what is wrong with one puts it aside, with a reason that can be shown."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.actions.labels.reading import read_shard
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.adapters.shard_counts import count_shard
from ratchet.core.errors import DataRejected
from ratchet.core.labels.digests import inputs_digests
from ratchet.core.labels.measured import RejectedShard
from ratchet.core.labels.rendering import render_opinion
from ratchet.core.labels.schema import arrow_type_of, inputs_table
from ratchet.core.labels.shards import features_digest_of, split_of
from tests.components.data import NOON, SPEC, Room, digit_labels
from tests.fakes.object_store import FakeObjectStore
from tests.fuzz.hostile import hostile_text, hostile_value, json_bytes, mangled, mutated
from tests.fuzz.running import fuzz
from tests.unit.serving.typed_model import ROW, png, spec_of

SCHEMA = SPEC.examples.without_limits
GOOD = [json.loads(label.model_dump_json(exclude_none=True)) for label in digit_labels(range(3))]
GOOD[0]["corrects"] = True
TYPED = spec_of().examples.without_limits
"""A task with every type of input."""
PICTURES = (
    {"b64": base64.b64encode(png()).decode()},
    {"b64": "AAAA"},
    "s3://b/k",
    "file:///etc/passwd",
    "http://[::1]/",
)
TYPED_GOOD: list[dict[str, Any]] = [
    {
        "id": f"a{number}",
        "inputs": {**ROW, "remark": "caf\u00e9", "delay": 1.5, "photo": PICTURES[0], "track": [1, 2]},
        "label": "yes",
        "labeler": "ada",
        "labeled_at": "2026-01-01T00:00:00Z",
        "corrects": number == 1,
    }
    for number in range(3)
]
FIELDS = ("id", "label", "labeler", "features", "labeled_at", "uri", "corrects")
REASON_CHARS_MAX = 4_000
LINE_ENDS = (b"\n", b"\r\n", b"\r", b"\n\n", b"\x0b", b"\x0c", b"\x1e", b"\x85", b"\xe2\x80\xa8", b"")
RAW_LINES = (
    b"[" * 200_000,
    b'{"a":' * 20_000,
    b'{"id": "a", "id": "b", "label": "1", "label": "2", "labeler": "x", "labeled_at": "2026-01-01T00:00:00Z"}',
    b'{"id": "a", "features": [' + b"1e400," * 63 + b"1], " + b'"label": "1"}',
    b'{"id": ' + b"9" * 5_000 + b"}",
    b'{"id": NaN, "features": [-Infinity]}',
    b'{"labeled_at": 1' + b"0" * 400 + b"}",
    b'"text"', b"null", b"[]", b"3", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b'{"id": "\\ud800"}', b'{"\\udc00": 1}',
)  # fmt: skip
TIMES = (
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00+99:99",
    "2026-01-01", "24:00", 0, -1, 1e18, -1e18, 10**30, 253402300800, "1e999", True, "2026-01-01T00:00:00[../..]",
)  # fmt: skip


class Shard(NamedTuple):
    name: str
    data: bytes


def jsonl(rng: Random) -> Shard:
    lines = []
    for row in GOOD[: rng.randrange(1, 4)]:
        changed: Any = mutated(rng, row, num_changes=rng.randrange(3))
        if isinstance(changed, dict) and rng.random() < 0.3:
            changed["labeled_at"] = rng.choice(TIMES)
        lines.append(json_bytes(changed))
    if rng.random() < 0.3:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(RAW_LINES))
    data = b"".join(line + rng.choice(LINE_ENDS) for line in lines)
    data = rng.choice((b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + data if rng.random() < 0.2 else data
    return Shard("jsonl", mangled(rng, data, num_changes=rng.randrange(4)) if rng.random() < 0.4 else data)


def invalid_text(num: int) -> pa.Array:
    """A column of strings that are no UTF-8, which Arrow does not check."""
    offsets = pa.array(range(num + 1), pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), num, [None, offsets, pa.py_buffer(b"\xff" * num)])


def time_column(zone: str, unit: str, value: int) -> Callable[[Random, int], pa.Array]:
    return lambda rng, num: pa.array([value] * num, pa.int64()).cast(pa.timestamp(unit, tz=zone or None))


COLUMNS: tuple[Callable[[Random, int], pa.Array], ...] = (
    lambda rng, num: invalid_text(num),
    lambda rng, num: pa.array(["é" * rng.choice((1, 300, 5_000))] * num),
    lambda rng, num: pa.array([rng.choice(("a", "", "3", "\0", "x" * 300))] * num).dictionary_encode(),
    lambda rng, num: pa.array([[1.0] * 64] * num),
    lambda rng, num: pa.array([[float("nan")] * 64] * num),
    lambda rng, num: pa.array([[1, None] * 32] * num),
    lambda rng, num: pa.array([[[1.0]] * 64] * num),
    lambda rng, num: pa.array([[1.0] * rng.randrange(3)] * num, pa.list_(pa.float32())),
    lambda rng, num: pa.array([[1] * 64] * num, pa.list_(pa.uint64(), 64)),
    lambda rng, num: pa.array([{"a": 1}] * num),
    lambda rng, num: pa.array([[("k", 1)]] * num, pa.map_(pa.string(), pa.int8())),
    lambda rng, num: pa.array([b"\xff\0"] * num, pa.binary()),
    lambda rng, num: pa.array([rng.choice((2**62, -(2**62), 0))] * num),
    lambda rng, num: pa.array([rng.choice((1e308, float("inf"), float("nan")))] * num),
    lambda rng, num: pa.array([None] * num, pa.null()),
    lambda rng, num: pa.array([None] * num, pa.string()),
    lambda rng, num: pa.array([True] * num),
    lambda rng, num: pa.array([12345] * num, pa.int64()).cast(pa.decimal128(38, 10)),
    lambda rng, num: pa.array([rng.choice((0, 2**31 - 1, -(2**31)))] * num, pa.int32()).cast(pa.date32()),
    lambda rng, num: pa.array([1] * num, pa.int64()).cast(pa.duration("ns")),
    lambda rng, num: pa.array([1] * num, pa.int64()).cast(pa.time64("us")),
    time_column("../..", "us", 0),
    time_column("Mars/Olympus", "ms", 0),
    time_column("+99:99", "s", 0),
    time_column("", "us", 0),
    time_column("UTC", "s", 2**60),
    time_column("UTC", "us", -(2**62)),
    time_column("UTC", "ns", 2**62),
    time_column("Pacific/Kiritimati", "ms", 253402300799999),
)  # fmt: skip


def good_columns(num: int) -> dict[str, pa.Array]:
    return {
        "id": pa.array([f"a{row}" for row in range(num)]),
        "features": pa.array([[1.0] * SPEC.features.num_features] * num),
        "label": pa.array(["3"] * num),
        "labeler": pa.array(["ada"] * num),
        "labeled_at": pa.array([NOON] * num, pa.timestamp("us", tz="UTC")),
    }


def parquet(rng: Random) -> Shard:
    num = rng.choice((0, 1, 3, 200))
    columns = list(good_columns(num).items())
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(columns))
        what = rng.randrange(5)
        name = rng.choice((*FIELDS, hostile_text(rng)))
        if what < 3:
            columns[at] = (columns[at][0], rng.choice(COLUMNS)(rng, num))
        elif what == 3:
            columns.insert(at, (name, rng.choice(COLUMNS)(rng, num)))
        else:
            del columns[at]
    buffer = io.BytesIO()
    try:
        names = [name.encode(errors="replace").decode() for name, _ in columns]
        table = pa.Table.from_arrays([array for _, array in columns], names=names)
        compression = rng.choice(("none", "zstd", "snappy", "gzip"))
        pq.write_table(
            table, buffer, compression=compression, row_group_size=rng.choice((1, 100)), store_schema=rng.random() < 0.8
        )
    except (pa.ArrowException, ValueError, OverflowError):
        return Shard("parquet", b"PAR1" + bytes(rng.randrange(256) for _ in range(20)) + b"PAR1")
    data = buffer.getvalue()
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data))] if rng.random() < 0.4 else mangled(rng, data, num_changes=3)
    return Shard("parquet", data)


def typed_jsonl(rng: Random) -> Shard:
    """Lines of a task with every type of input."""
    rows = [mutated(rng, row, num_changes=rng.randrange(3)) for row in TYPED_GOOD[: rng.randrange(1, 4)]]
    for row in rows:
        inputs = row.get("inputs") if isinstance(row, dict) else None
        if isinstance(inputs, dict) and rng.random() < 0.7:
            inputs[rng.choice([each.name for each in TYPED.inputs])] = rng.choice((hostile_value(rng), *PICTURES))
    data = b"".join(json_bytes(row) + rng.choice(LINE_ENDS[:4]) for row in rows)
    return Shard("jsonl", mangled(rng, data, num_changes=2) if rng.random() < 0.2 else data)


def typed_parquet(rng: Random) -> Shard:
    """The same as a struct of inputs, some of its fields of other types."""
    num = rng.choice((1, 3, 200))
    inputs = dict(typed_inputs(num))
    for _ in range(rng.randrange(4)):
        inputs[rng.choice((*inputs, hostile_text(rng).encode(errors="replace").decode()))] = rng.choice(COLUMNS)(
            rng, num
        )
    columns = {name: column for name, column in good_columns(num).items() if name != "features"}
    buffer = io.BytesIO()
    try:
        struct = pa.StructArray.from_arrays(list(inputs.values()), names=list(inputs))
        table = pa.table({**columns, "label": pa.array(["yes"] * num), "inputs": struct})
        pq.write_table(table, buffer, row_group_size=rng.choice((1, 100)), store_schema=rng.random() < 0.8)
    except (pa.ArrowException, ValueError, OverflowError):
        return Shard("parquet", b"PAR1" + bytes(20) + b"PAR1")
    data = buffer.getvalue()
    return Shard("parquet", mangled(rng, data, num_changes=3) if rng.random() < 0.3 else data)


def typed_inputs(num: int) -> Iterator[tuple[str, pa.Array]]:
    for each in TYPED.inputs:
        value = TYPED_GOOD[0]["inputs"].get(each.name)
        if each.type == "datetime":
            yield each.name, pa.array([NOON] * num, pa.timestamp("us", tz="UTC"))
        elif each.type != "image":
            yield each.name, pa.array([value] * num, arrow_type_of(each))


def check_typed(made: Shard) -> None:
    """As `check_reader`, for every type of input."""
    key = f"flights/2026/01/01/01KDWPVNG00000000000000000.{made.name}"
    count_shard(key, made.data)
    try:
        rows = read_shard(key, made.data, schema=TYPED)
    except DataRejected as error:
        reason = RejectedShard.of(key, error).reason
        assert 0 < len(reason) <= REASON_CHARS_MAX and reason.isprintable()
        return
    rows.validate(full=True)
    assert rows.schema.equals(TYPED.opinions_schema) and rows.num_rows
    assert len(inputs_digests(rows, TYPED)) == rows.num_rows
    for each in TYPED.inputs:
        missing = inputs_table(rows, TYPED)[each.name].null_count
        assert each.optional or not missing, each.name
    for row in rows.to_pylist():
        # A pushed line has the picture as it was given; a stored row has its pixels, which no line takes.
        render_opinion({**row, "inputs": {**row["inputs"], "photo": None}}, TYPED)


def test_no_typed_shard_stops_the_reader_of_ingest() -> None:
    fuzz(lambda rng: (typed_jsonl if rng.random() < 0.6 else typed_parquet)(rng), check_typed, num_inputs=1_000)


def shard(rng: Random) -> Shard:
    kind = rng.random()
    if kind < 0.55:
        return jsonl(rng)
    if kind < 0.95:
        return parquet(rng)
    other = jsonl(rng) if rng.random() < 0.5 else parquet(rng)
    return Shard("jsonl" if other.name == "parquet" else "parquet", other.data)


def check_reader(made: Shard) -> None:
    """Read, or refused with a reason of a bounded length that every file and terminal takes; what is read is usable."""
    key = f"digits/2026/01/01/01KDWPVNG00000000000000000.{made.name}"
    try:
        labels = read_shard(key, made.data, schema=SCHEMA)
    except DataRejected as error:
        reason = RejectedShard.of(key, error).reason
        assert 0 < len(reason) <= REASON_CHARS_MAX and reason.isprintable()
        reason.encode()
        assert len(str(error)) <= 2 * REASON_CHARS_MAX
        return
    assert labels.num_rows
    labels.validate(full=True)
    digests = inputs_digests(labels, SCHEMA)
    for row, digest in zip(labels.to_pylist(), digests.tolist(), strict=True):
        assert split_of(row["id"])
        assert features_digest_of(row["inputs"]["features"]) == digest
        assert row["label"] in SPEC.classes
        render_opinion(row, SCHEMA)


def check_count(made: Shard) -> None:
    """What the sensor asks: the count of any bytes is a number that the shard can hold, or unknown."""
    key = f"digits/2026/01/01/01KDWPVNG00000000000000000.{made.name}"
    counts = count_shard(key, made.data)
    assert counts.num_labels is None or 0 <= counts.num_labels <= 10**9


METADATA = ("num-labels", "num-by-class", "num-by-labeler")


def told(rng: Random) -> dict[str, str]:
    """User metadata of another tool."""
    values = (
        "1" + "0" * 309,
        "٣",
        "-1",
        "1e3",
        "0x10",
        " 7",
        "",
        "[" * 20_000,
        '{"a": 1}',
        '{"a": -1}',
        '{"a": 1e400}',
    )
    return {name: rng.choice((*values, hostile_text(rng), repr(hostile_value(rng))[:200])) for name in METADATA}


def check_told(metadata: dict[str, str]) -> None:
    objects = FakeObjectStore()
    key = "digits/2026/01/01/01KDWPVNG00000000000000000.jsonl"
    objects.put(f"s3://labels/{key}", b"{}\n", metadata=metadata)
    store = S3LabelStore(objects, bucket="labels")
    listed = store.list_shards("digits")
    assert [found.key for found in listed] == [key]
    [counted] = store.count_shards(listed).shards
    assert counted.num_labels in (None, 0, 1)


def test_no_shard_stops_the_reader_of_ingest() -> None:
    fuzz(shard, check_reader, num_inputs=2_000)


def test_no_shard_stops_the_count_of_the_sensor() -> None:
    fuzz(shard, check_count, num_inputs=1_000)


def test_no_metadata_stops_the_count_of_the_sensor() -> None:
    fuzz(told, check_told, num_inputs=1_000)


def test_a_batch_of_hostile_shards_holds_up_no_good_one(tmp_path: Path) -> None:
    def batch(rng: Random) -> list[Shard]:
        return [shard(rng) for _ in range(40)]

    def check(made: list[Shard]) -> None:
        room = Room(tmp_path)
        good = room.push(digit_labels(range(20)))
        for number, each in enumerate(made):
            key = room.push(digit_labels([100])).removesuffix("jsonl") + each.name
            room.labels.put_at(key, each.data, num_labels=number)
        version, num_new = room.ingest()
        assert num_new >= 20
        rejected = {item["key"] for item in json.loads(Path(room.path("rejected")).read_bytes())["rejected"]}
        assert good not in rejected
        assert room.datasets.fetch_manifest(version).num_labels == num_new

    fuzz(batch, check, num_inputs=10)
