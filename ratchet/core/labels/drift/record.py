"""What the last look for drift found, column by column: what `ratchet drift show` reads, and where the next look goes
on from. Pure data."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.core.labels.drift.decide import ColumnDrift
from ratchet.core.labels.drift.evidence import DriftEvidence
from ratchet.core.labels.drift.policy import DriftName
from ratchet.core.verdict import Reason

DriftKind = Literal["drift_check", "drift_monitor"]
DRIFT_KINDS: tuple[DriftKind, ...] = ("drift_check", "drift_monitor")


class DriftRecord(BaseModel):
    """The newest look of one kind: `s3://ratchet/drift/<task>/<kind>.json`, written over by each later one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    kind: DriftKind
    at: AwareDatetime
    compared: str
    """What with what: `mails/v3 with the training rows of mails/v2`."""
    num_old: int
    num_new: int
    verdict: DriftName
    reasons: tuple[Reason, ...]
    advice: str
    """What to do, in a sentence."""
    columns: tuple[ColumnDrift, ...] = ()
    """Of typed inputs; a task whose only input is a vector has `reasons` alone."""
    evidence: DriftEvidence | None = None
    estimate: str = ""
    """Of drift_monitor: how right the champion is in production, as far as it can be known."""
