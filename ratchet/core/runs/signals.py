"""What others found out about a task that makes new labels worth more, or less. Pure."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

SignalKind = Literal["drift", "serving_quality", "label_quality"]
SIGNAL_KINDS: tuple[SignalKind, ...] = ("drift", "serving_quality", "label_quality")


class Signal(BaseModel):
    """The newest finding of one kind: `s3://ratchet/signals/<task>/<kind>.json`, written over by each newer one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: SignalKind
    is_bad: bool
    """Drift was found, serving quality fell, label quality is poor."""
    value: float
    limit: float
    at: AwareDatetime
    text: str
    """One sentence with both numbers."""
