"""Label shards: their keys, their lines, their split. Pure."""

import hashlib
import json
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from ratchet.core.errors import DataRejected

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SHARD_BYTES_MAX = 256 << 20
"""A shard is read whole. 256 MiB are about half a million examples of 64 features."""
NUM_LABELS, NUM_BY_CLASS, NUM_BY_LABELER = "num-labels", "num-by-class", "num-by-labeler"
"""User metadata of a shard. The last two are JSON objects of name to number, and may be left out."""
METADATA_BYTES_MAX = 1536
"""Of the two JSON objects together. S3 takes 2 KiB of user metadata, and a labeling tool may have words of its own."""
_NAMES_MAX = 1000
"""More classes or labelers in one shard are a broken tool, not something that a person wants to see counted."""
_ULID = r"[0-9A-HJKMNP-TV-Z]{26}"
_SHARD_KEY = re.compile(rf"(?P<task>[a-z][a-z0-9-]*)/\d{{4}}/\d{{2}}/\d{{2}}/(?P<ulid>{_ULID})\.(jsonl|parquet)")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Label(BaseModel):
    """One labelled example, as a labeling tool writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=256)
    """Identity of the example (not of this opinion about it): several labelers may label one id."""
    features: tuple[FiniteFloat, ...] | None = None
    uri: str | None = None
    label: str
    labeler: str = Field(min_length=1, max_length=256)
    labeled_at: AwareDatetime


class ShardCounts(BaseModel):
    """How many labels a shard holds; None = it does not say, and nobody could or would count."""

    model_config = ConfigDict(frozen=True)

    num_labels: int | None = None
    num_by_class: Mapping[str, int] | None = None
    num_by_labeler: Mapping[str, int] | None = None

    @property
    def is_whole(self) -> bool:
        return None not in (self.num_labels, self.num_by_class, self.num_by_labeler)


class LabelShard(ShardCounts):
    """One immutable object of the label bucket, as a listing shows it; the counts come later and cost a request."""

    key: str
    """`<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl`: keys sort by time."""
    size_bytes: int
    etag: str
    last_modified_at: datetime

    @property
    def content(self) -> str:
        """Equal for equal bytes that were put in one piece: the ETag is their MD5."""
        return f"{self.etag}-{self.size_bytes}"

    def with_counts(self, counts: ShardCounts) -> "LabelShard":
        return self.model_copy(update={name: getattr(counts, name) for name in ShardCounts.model_fields})


class CountedShards(NamedTuple):
    shards: tuple[LabelShard, ...]
    num_left: int
    """How many of the last ones there was no time to count."""


class LabelSchema(BaseModel):
    """What a task can learn from: its classes, the number of its features and their range."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...]
    num_features: int
    min_value: float = float("-inf")
    max_value: float = float("inf")


def id_digest_of(example_id: str) -> int:
    """64 bits of sha256 of an example's id: where it belongs, and how an index knows it again."""
    return int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:8], "big")


def features_digest_of(features: Iterable[float]) -> int:
    """64 bits of sha256 of the numbers (little-endian float64, -0.0 as 0.0): equal for exactly equal features."""
    values = [value + 0.0 for value in features]
    return int.from_bytes(hashlib.sha256(struct.pack(f"<{len(values)}d", *values)).digest()[:8], "big")


def split_of(example_id: str) -> Split:
    """Where an example belongs, for ever: 70 % train, 10 % val, 20 % test, by sha256 of its id."""
    return split_at(id_digest_of(example_id))


def split_at(id_digest: int) -> Split:
    """`split_of`, of an id of which only the digest is known."""
    bucket = id_digest % 100
    if bucket < 70:
        return "train"
    return "val" if bucket < 80 else "test"


def ulid_of(at: datetime, entropy: bytes) -> str:
    """26 characters that sort by time: 48 bits of milliseconds, then 80 bits of `entropy` (10 bytes).

    Source: github.com/ulid/spec, Crockford's base 32.
    """
    number = (int(at.timestamp() * 1000) << 80) | int.from_bytes(entropy[:10], "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def shard_key_of(task: str, at: datetime, entropy: bytes) -> str:
    """Where a shard that lands now goes."""
    return f"{task}/{at:%Y/%m/%d}/{ulid_of(at, entropy)}.jsonl"


def first_key_at(task: str, at: datetime) -> str:
    """The first key that a shard landing at this time could have: where to begin a listing."""
    return shard_key_of(task, at, bytes(10)).removesuffix(".jsonl")


def is_shard_key(key: str, task: str) -> bool:
    """Whether an object of the label bucket is a shard of this task; anything else is left alone."""
    match = _SHARD_KEY.fullmatch(key)
    return match is not None and match["task"] == task


def landed_at_of(key: str) -> datetime:
    """When a shard was put, to the millisecond, as its key says. ValueError for what is not a shard key."""
    match = _SHARD_KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"{key!r} is not the key of a label shard")
    number = 0
    for character in match["ulid"][:10]:
        number = number * 32 + _CROCKFORD.index(character)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)


def count_labels(labels: Iterable[Label]) -> ShardCounts:
    """What a shard of these labels says of itself."""
    found = tuple(labels)
    return ShardCounts(
        num_labels=len(found),
        num_by_class=_counted(label.label for label in found),
        num_by_labeler=_counted(label.labeler for label in found),
    )


def count_label_fields(pairs: Iterable[tuple[object, object]]) -> ShardCounts:
    """Like `count_labels`, of (label, labeler) that nobody has checked; by class and labeler only if all are text."""
    found = tuple(pairs)
    classes, labelers = (_counted(values) for values in (zip(*found, strict=True) if found else ((), ())))
    return ShardCounts(num_labels=len(found), num_by_class=classes, num_by_labeler=labelers)


def render_counts(counts: ShardCounts) -> dict[str, str]:
    """User metadata of a shard, in ASCII; what would make it too long is left out."""
    told = {NUM_BY_CLASS: counts.num_by_class, NUM_BY_LABELER: counts.num_by_labeler}
    metadata = {
        name: json.dumps(dict(numbers), separators=(",", ":")) for name, numbers in told.items() if numbers is not None
    }
    if sum(map(len, metadata.values())) > METADATA_BYTES_MAX:
        metadata = {}
    return metadata if counts.num_labels is None else {NUM_LABELS: str(counts.num_labels), **metadata}


def parse_counts(metadata: Mapping[str, str]) -> ShardCounts:
    """What a shard says of itself. What contradicts `num-labels`, or is no count, is as if it were not said."""
    said = metadata.get(NUM_LABELS, "")
    num_labels = int(said) if said.isascii() and said.isdecimal() else None
    by_class, by_labeler = (_parse_numbers(metadata.get(name, "")) for name in (NUM_BY_CLASS, NUM_BY_LABELER))
    return ShardCounts(
        num_labels=num_labels,
        num_by_class=by_class if by_class is not None and sum(by_class.values()) == num_labels else None,
        num_by_labeler=by_labeler if by_labeler is not None and sum(by_labeler.values()) == num_labels else None,
    )


def find_twins(shards: Iterable[LabelShard]) -> frozenset[str]:
    """Keys of those whose content another of them brought first: it landed earlier, so no later one displaces it."""
    seen: set[str] = set()
    twins = set()
    for shard in sorted(shards, key=lambda shard: (shard.last_modified_at, shard.key)):
        (twins.add(shard.key) if shard.content in seen else seen.add(shard.content))
    return frozenset(twins)


def _counted(values: Iterable[object]) -> dict[str, int] | None:
    numbers = Counter(value if isinstance(value, str) else None for value in values)
    if None in numbers or len(numbers) > _NAMES_MAX:
        return None
    return {name: numbers[name] for name in sorted(numbers, key=str) if name is not None}


def _parse_numbers(text: str) -> dict[str, int] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not all(type(number) is int and number >= 0 for number in value.values()):
        return None
    return value


def parse_label(value: Mapping[str, Any], *, where: str) -> Label:
    """One label from its fields; `where` (file and line) goes into the error."""
    try:
        return Label.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise DataRejected(f"{where}: {field}: {first['msg']}. {_NEXT_STEP}") from None


def parse_label_line(line: str, *, where: str, defaults: Mapping[str, Any] | None = None) -> Label:
    """One label from one JSON line; `defaults` stand in for fields that the line lacks."""
    try:
        value = _json_object(line)
    except ValueError as error:
        raise DataRejected(f"{where}: {error}. {_NEXT_STEP}") from None
    return parse_label({**(defaults or {}), **value}, where=where)


_NEXT_STEP = "Correct it and push the file again: a shard that has landed never changes."


def check_label(label: Label, schema: LabelSchema, *, where: str) -> Label:
    """The label, when the task can learn from it: a known class, the right number of features, each in range."""
    if label.label not in schema.classes:
        raise DataRejected(f"{where}: label is {label.label!r}, expected one of {sorted(schema.classes)}. {_NEXT_STEP}")
    if label.features is None or len(label.features) != schema.num_features:
        found = "none" if label.features is None else str(len(label.features))
        raise DataRejected(f"{where}: {found} features, expected {schema.num_features}. {_NEXT_STEP}")
    for number, value in enumerate(label.features):
        if not schema.min_value <= value <= schema.max_value:
            raise DataRejected(
                f"{where}: feature {number} is {value:g}, expected {schema.min_value:g} to {schema.max_value:g}. "
                f"{_NEXT_STEP}"
            )
    return label


def parse_labels(
    lines: Iterable[str], *, schema: LabelSchema, where: str, defaults: Mapping[str, Any] | None = None
) -> tuple[Label, ...]:
    """Every label of a JSONL shard; one wrong line, or no line, is DataRejected."""
    labels = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{where}, line {number}"
            labels.append(check_label(parse_label_line(line, where=place, defaults=defaults), schema, where=place))
    return _checked_not_empty(labels, where=where)


def parse_label_rows(rows: Iterable[Mapping[str, Any]], *, schema: LabelSchema, where: str) -> tuple[Label, ...]:
    """Every label of a shard that came as rows of fields (Parquet)."""
    labels = []
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        labels.append(check_label(parse_label(row, where=place), schema, where=place))
    return _checked_not_empty(labels, where=where)


def render_labels(labels: Iterable[Label]) -> bytes:
    """The JSONL of a shard."""
    return b"".join(label.model_dump_json(exclude_none=True).encode() + b"\n" for label in labels)


def _checked_not_empty(labels: list[Label], *, where: str) -> tuple[Label, ...]:
    if not labels:
        raise DataRejected(f"{where}: no labels in it. Push a file with at least one line.")
    return tuple(labels)


def _json_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value
