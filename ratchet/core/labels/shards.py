"""Label shards: their keys, their lines, their split. Pure."""

import hashlib
import json
import re
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, FailFast, Field

Place = tuple[str, str]
"""(key of a label shard, labeler): what is put into quarantine. A file of ten labelers is ten places."""
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
TRAIN_BELOW, VAL_BELOW = 70, 80
"""Per cent of all examples by their digests; the rest is test. Other numbers would put known rows into other splits."""
SHARD_BYTES_MAX = 256 << 20
"""A shard is read whole. 256 MiB are about half a million examples of 64 features."""
NUM_LABELS, NUM_BY_CLASS, NUM_BY_LABELER = "num-labels", "num-by-class", "num-by-labeler"
"""User metadata of a shard. The last two are JSON objects of name to number, and may be left out."""
METADATA_BYTES_MAX = 1536
"""Of the two JSON objects together. S3 takes 2 KiB of user metadata, and a labeling tool may have words of its own."""
_NAMES_MAX = 1000
"""More classes or labelers in one shard are a broken tool, not something that a person wants to see counted."""
_DIGITS_MAX = 12
"""Of a count in the metadata."""
LINE_BYTES_MIN = len(b'{"id":"a","label":"","labeler":"a","labeled_at":0}')
"""The shortest line that is a label; what claims more labels than fit into it is not believed."""
_ULID = r"[0-9A-HJKMNP-TV-Z]{26}"
_SHARD_KEY = re.compile(
    rf"(?P<task>[a-z][a-z0-9-]*)/(?P<day>[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}})/(?P<ulid>{_ULID})\.(jsonl|parquet)"
)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_MAX = int((datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) / timedelta(milliseconds=1))
YEARS = range(1900, 2201)


def check_years(at: datetime) -> datetime:
    """Beyond these years a time overflows in one of the tools (nanoseconds in 64 bits end in 2262)."""
    if at.year not in YEARS:
        raise ValueError(f"the year {at.year} is not from {YEARS[0]} to {YEARS[-1]}")
    return at


def _encodable(text: str) -> str:
    if not is_encodable(text):
        raise ValueError("half of a surrogate pair")
    return text


def is_encodable(text: str) -> bool:
    """Half of a surrogate pair is a `str` that no file and no terminal takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Text = Annotated[str, AfterValidator(_encodable)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; `true` and "3" are none."""


class Label(BaseModel):
    """One labelled example, as a labeling tool writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Text = Field(min_length=1, max_length=256)
    """Identity of the example (not of this opinion about it): several labelers may label one id."""
    features: Annotated[tuple[Number, ...] | None, FailFast()] = None
    uri: Text | None = None
    label: Text
    labeler: Text = Field(min_length=1, max_length=256)
    labeled_at: Annotated[AwareDatetime, AfterValidator(check_years)]
    corrects: Literal[True] | None = None
    """Whether it puts another opinion right, whoever said that; not written where it does not."""
    queue_mark: Text | None = None
    """Of an example from a queue (`queue_marks`)."""


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

    def without(self, labelers: Collection[str]) -> "LabelShard":
        """What it counts when the labels of these are left out; unchanged where it does not say how many they are."""
        if not labelers or self.num_labels is None or self.num_by_labeler is None:
            return self
        kept = {name: number for name, number in self.num_by_labeler.items() if name not in labelers}
        counts = ShardCounts(num_labels=sum(kept.values()), num_by_class=None, num_by_labeler=kept)
        return self.with_counts(counts)

    def limited_to(self, labelers: Collection[str] | None) -> "LabelShard":
        """What it counts when only the labels of these are wanted; None: of all."""
        others = () if labelers is None else [name for name in self.num_by_labeler or () if name not in labelers]
        return self.without(others)

    def with_counts(self, counts: ShardCounts) -> "LabelShard":
        return self.model_copy(update={name: getattr(counts, name) for name in ShardCounts.model_fields})


class CountedShards(NamedTuple):
    shards: tuple[LabelShard, ...]
    num_left: int
    """How many of the last ones there was no time to count."""


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
    if bucket < TRAIN_BELOW:
        return "train"
    return "val" if bucket < VAL_BELOW else "test"


def ulid_of(at: datetime, entropy: bytes) -> str:
    """26 characters that sort by time: 48 bits of milliseconds, then 80 bits of `entropy` (10 bytes).

    Source: github.com/ulid/spec, Crockford's base 32.
    """
    number = (max(int(at.timestamp() * 1000), 0) << 80) | int.from_bytes(entropy[:10], "big")
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
    """When a shard was put, to the millisecond, as its key says; the last day of 9999 for any time beyond it.

    ValueError for what is not a shard key.
    """
    match = _SHARD_KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"{key!r} is not the key of a label shard")
    number = 0
    for character in match["ulid"][:10]:
        number = number * 32 + _CROCKFORD.index(character)
    return _EPOCH + timedelta(milliseconds=min(number, _MS_MAX))


def is_in_order(key: str) -> bool:
    """Whether the day in a shard's key is that of its ULID, a day more or less (time zones).

    Keys are listed by their day first. One in another place would be looked at too late, or hide what lands after it.
    """
    match = _SHARD_KEY.fullmatch(key)
    if match is None:
        return False
    try:
        day = datetime.strptime(match["day"], "%Y/%m/%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return timedelta(days=-1) <= landed_at_of(key) - day < timedelta(days=2)


def count_label_fields(pairs: Iterable[tuple[object, object]]) -> ShardCounts:
    """What a shard of these (label, labeler) holds, checked or not. By class where all labels are texts or lists of
    texts; numbers have no classes; other values are not counted."""
    found = tuple(pairs)
    labels, labelers = zip(*found, strict=True) if found else ((), ())
    return ShardCounts(num_labels=len(found), num_by_class=_by_class(labels), num_by_labeler=_counted(labelers))


def _by_class(labels: Sequence[object]) -> dict[str, int] | None:
    if labels and all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels):
        return {}
    if labels and all(isinstance(label, list) for label in labels):
        return _counted(tag for tags in labels if isinstance(tags, list) for tag in tags)
    return _counted(labels)


def render_counts(counts: ShardCounts) -> dict[str, str]:
    """User metadata of a shard, in ASCII; what would make it too long is left out."""
    told = {NUM_BY_CLASS: counts.num_by_class, NUM_BY_LABELER: counts.num_by_labeler}
    metadata = {
        name: json.dumps(dict(numbers), separators=(",", ":")) for name, numbers in told.items() if numbers is not None
    }
    if sum(map(len, metadata.values())) > METADATA_BYTES_MAX:
        metadata = {}
    return metadata if counts.num_labels is None else {NUM_LABELS: str(counts.num_labels), **metadata}


def num_labels_max(key: str, size_bytes: int) -> int:
    """The most labels that a shard of this size can hold. Parquet packs equal values, but ids differ: a byte each."""
    return size_bytes if key.endswith(".parquet") else (size_bytes + 1) // (LINE_BYTES_MIN + 1)


def parse_counts(metadata: Mapping[str, str], *, num_max: int) -> ShardCounts:
    """What a shard says of itself. What contradicts `num-labels`, is over `num_max` (`num_labels_max`) or is no count
    is as if it were not said."""
    said = metadata.get(NUM_LABELS, "")
    is_count = said.isascii() and said.isdecimal() and len(said) <= _DIGITS_MAX
    num_labels = int(said) if is_count and int(said) <= num_max else None
    by_class, by_labeler = (_parse_numbers(metadata.get(name, "")) for name in (NUM_BY_CLASS, NUM_BY_LABELER))
    return ShardCounts(
        num_labels=num_labels,
        num_by_class=by_class
        if by_class is not None and (not by_class or sum(by_class.values()) == num_labels)
        else None,
        num_by_labeler=by_labeler if _sums_to(by_labeler, num_labels) else None,
    )


def _sums_to(numbers: Mapping[str, int] | None, whole: int | None) -> bool:
    return numbers is not None and sum(numbers.values()) == whole


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


def render_labels(labels: Iterable[Label]) -> bytes:
    """The JSONL of a shard."""
    return b"".join(label.model_dump_json(exclude_none=True).encode() + b"\n" for label in labels)
