"""What a model answered to whom, and what was true: the lines of the payload log and of feedback. Pure.

`s3://ratchet/payloads/<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl` holds Predictions, `s3://ratchet/feedback/<task>/…` holds
Feedback; keys sort by the time of the PUT, so what is new is listed in O(new).
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from ratchet.core.labels.shards import first_key_at, shard_key_of

TEXT_CHARS_LOGGED = 2_000
"""The payload log keeps the beginning of a longer text."""
LabelValue = str | FiniteFloat | tuple[str, ...]
"""A class, a number, or tags."""


class Prediction(BaseModel):
    """One answered request of one revision. A mirrored request has one from each revision, under one request id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: str = Field(min_length=1, max_length=256)
    """`x-request-id`, which the gateway makes when the user did not."""
    at: AwareDatetime
    model_digest: str
    latency_ms: float = Field(ge=0)
    """Inside the model server."""
    features: tuple[tuple[FiniteFloat, ...], ...] = ()
    """(B, F), as the user sent them, of a task with a single vector input; empty of any other task."""
    inputs: tuple[Mapping[str, Any], ...] = ()
    """(B,) of any other task: name to value, without what is missing. A longer text is cut to `TEXT_CHARS_LOGGED`; of
    an image there is `{"sha256", "width", "height", "channels"}` of its pixels."""
    labels: tuple[LabelValue, ...]
    """(B,), the answer to each instance."""
    probabilities: tuple[FiniteFloat, ...] = ()
    """(B,), 0..1, of that answer; empty of a number."""
    instances: tuple[int, ...] = ()
    """(B,): which instances of the request these are, where others of it were erased; empty: all, counted from 0."""

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        """A line that was cut and joined may be JSON all the same; it is broken for every reader."""
        asked = self.inputs or self.features
        if len(asked) != len(self.labels):
            raise ValueError(f"{len(asked)} instances and {len(self.labels)} labels")
        if self.probabilities and len(self.probabilities) != len(self.labels):
            raise ValueError(f"{len(self.probabilities)} probabilities and {len(self.labels)} labels")
        if self.instances and len(self.instances) != len(self.labels):
            raise ValueError(f"{len(self.instances)} numbers of instances and {len(self.labels)} labels")
        return self

    @property
    def numbers(self) -> Sequence[int]:
        """(B,): the place of each answer in the request, as feedback names it."""
        return self.instances or range(len(self.labels))


class Feedback(BaseModel):
    """The true label of one instance of one earlier request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str = Field(min_length=1, max_length=256)
    instance: int = Field(0, ge=0, le=1_000_000, strict=True)
    """Which instance of the request, counted from 0."""
    label: Annotated[str, Field(min_length=1, max_length=256)] | FiniteFloat | tuple[str, ...]
    at: AwareDatetime
    """When it arrived."""


PAYLOADS, FEEDBACK = "payloads", "feedback"
"""The folders of the two, in the bucket of Ratchet's own records."""


def logged_id_of(request_id: str, instance: int) -> str:
    """The id of an example that is labelled because it was asked (`ratchet labels queue payloads`)."""
    return f"{request_id}-{instance}"


def is_sampled(request_id: str, ratio: float) -> bool:
    """Whether the payload log takes a request, by a digest of its id: every revision takes the same ones.

    ratio: share of requests, 0..1; what is taken at a small ratio is taken at each larger one.
    """
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") < ratio * 2**64


def record_key_of(folder: str, task: str, at: datetime, entropy: bytes) -> str:
    """Where records that are put now go: `<folder>/<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl`."""
    return f"{folder}/{shard_key_of(task, at, entropy)}"


def first_record_key_at(folder: str, task: str, at: datetime) -> str:
    """Sorts right before every key of this time or later: where to begin a listing."""
    return f"{folder}/{first_key_at(task, at)}"
