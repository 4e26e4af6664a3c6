"""What a model answered to whom, and what was true: the lines of the payload log and of feedback. Pure.

`s3://ratchet/payloads/<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl` holds Predictions, `s3://ratchet/feedback/<task>/…` holds
Feedback; keys sort by the time of the PUT, so what is new is listed in O(new).
"""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat


class Prediction(BaseModel):
    """One answered request of one revision. A mirrored request has one from each revision, under one request id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: str = Field(min_length=1, max_length=256)
    """`x-request-id`, which the gateway makes when the user did not."""
    at: AwareDatetime
    model_digest: str
    latency_ms: float = Field(ge=0)
    """Inside the model server."""
    features: tuple[tuple[FiniteFloat, ...], ...]
    """(B, F), as the user sent them."""
    labels: tuple[str, ...]
    """(B,), the most likely class of each instance."""
    probabilities: tuple[float, ...]
    """(B,), 0..1, of that class."""


class Feedback(BaseModel):
    """The true label of one instance of one earlier request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str = Field(min_length=1, max_length=256)
    instance: int = Field(0, ge=0)
    """Which instance of the request, counted from 0."""
    label: str = Field(min_length=1, max_length=256)
    at: AwareDatetime
    """When it arrived."""
