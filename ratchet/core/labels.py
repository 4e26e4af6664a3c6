"""Label shards: their keys, their lines, their split. Pure."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ratchet.core.errors import DataRejected

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_ULID = r"[0-9A-HJKMNP-TV-Z]{26}"
_SHARD_KEY = re.compile(rf"(?P<task>[a-z][a-z0-9-]*)/\d{{4}}/\d{{2}}/\d{{2}}/{_ULID}\.(jsonl|parquet)")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Label(BaseModel):
    """One labelled example, as a labeling tool writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=256)
    """Identity of the example (not of this opinion about it): several labelers may label one id."""
    features: tuple[float, ...] | None = None
    uri: str | None = None
    label: str
    labeler: str = Field(min_length=1, max_length=256)
    labeled_at: AwareDatetime


class LabelShard(BaseModel):
    """One immutable object of the label bucket, as a listing shows it."""

    model_config = ConfigDict(frozen=True)

    key: str
    """`<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl`: keys sort by time."""
    size_bytes: int
    etag: str
    last_modified_at: datetime
    num_labels: int | None = None
    """From the user metadata `num-labels`; None when the tool did not say."""


def split_of(example_id: str) -> Split:
    """Where an example belongs, for ever: 70 % train, 10 % val, 20 % test, by sha256 of its id."""
    bucket = int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:8], "big") % 100
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


def is_shard_key(key: str, task: str) -> bool:
    """Whether an object of the label bucket is a shard of this task; anything else is left alone."""
    match = _SHARD_KEY.fullmatch(key)
    return match is not None and match["task"] == task


def parse_label_line(line: str, *, where: str) -> Label:
    """One label from one JSON line; `where` (file and line) goes into the error."""
    try:
        return Label.model_validate(_json_object(line))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise DataRejected(f"{where}: {field}: {first['msg']}. {_NEXT_STEP}") from None
    except ValueError as error:
        raise DataRejected(f"{where}: {error}. {_NEXT_STEP}") from None


_NEXT_STEP = "Fix the file and push it again under a new key: shards are immutable."


def parse_labels(lines: Iterable[str], *, where: str) -> tuple[Label, ...]:
    """Every label of a shard; a malformed line or an empty shard is DataRejected."""
    labels = tuple(
        parse_label_line(line, where=f"{where}, line {number}") for number, line in enumerate(lines, 1) if line.strip()
    )
    if not labels:
        raise DataRejected(f"{where}: no labels in it. Push a file with at least one line.")
    return labels


def check_labels(labels: Sequence[Label], *, classes: Sequence[str], num_features: int, where: str) -> None:
    """Refuse what the task cannot learn from: an unknown class, a wrong number of features."""
    known = frozenset(classes)
    for number, label in enumerate(labels, 1):
        if label.label not in known:
            raise DataRejected(
                f"{where}, line {number}: label is {label.label!r}, expected one of {sorted(known)}. {_NEXT_STEP}"
            )
        if label.features is None or len(label.features) != num_features:
            found = "none" if label.features is None else str(len(label.features))
            raise DataRejected(f"{where}, line {number}: {found} features, expected {num_features}. {_NEXT_STEP}")


def _json_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value
