"""`Measured`: what is counted of a batch of labels before anybody judges it. Pure; `components/validate` counts."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.reliability.queued import QueueReport
from ratchet.core.labels.reliability.report import Reliability
from ratchet.core.labels.shards import Place
from wire.printable import printable

REASON_CHARS_MAX = 600
"""An excerpt of 200 characters, the key and the next step."""


class RejectedShard(BaseModel):
    """A label shard that could not be read, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    reason: str

    @classmethod
    def of(cls, key: str, reason: object) -> "RejectedShard":
        """With the reason cut to what a verdict and a page can show."""
        return cls(key=key, reason=printable(str(reason), chars_max=REASON_CHARS_MAX))


class IngestNotes(BaseModel):
    """What `ingest` tells `validate` about a batch, besides its rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rejected: tuple[RejectedShard, ...] = ()
    released: tuple[Place, ...] = ()
    """Labels that a person released: not judged. The labeler "" stands for the whole shard."""
    reopened: tuple[str, ...] = ()
    """Shards that were in quarantine and came back by an order."""
    orders: int = 0
    """The number of the last order about the quarantine that this batch knows of."""

    def is_released(self, shard: str, labeler: str) -> bool:
        return (shard, "") in self.released or (shard, labeler) in self.released


_CHANCE_FACTOR = 1.25
"""On the real tables of tests/unit/core/labels/test_coincidence.py the expected number of pairs is 0.94 to 1.7 times
what is found: the estimate is that rough."""


class Count(BaseModel):
    """How many of a number of rows broke one rule, and where."""

    model_config = ConfigDict(frozen=True)

    check: str
    rule: str
    """The rule, as the end of "12 of 900 rows break: …"."""
    num_bad: int
    num_rows: int
    places: tuple[Place, ...] = ()
    num_expected: float = Field(0.0, ge=0)
    """How many of them chance explains (`core.labels.coincidence`); what is over `_CHANCE_FACTOR` times that counts."""

    @property
    def shards(self) -> tuple[str, ...]:
        return tuple(sorted({shard for shard, _ in self.places}))

    @property
    def bad_ratio(self) -> float:
        num_unexplained = max(0.0, self.num_bad - _CHANCE_FACTOR * self.num_expected)
        return num_unexplained / self.num_rows if self.num_rows else 0.0


FOUND_ROWS_MAX = 100
"""Examples that are named, of each finding."""


class FoundRow(BaseModel):
    """One example, and what is remarkable about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    labeler: str
    shard: str
    text: str
    given: str | None = None
    suggested: str | None = None
    """Of a label that is likely wrong: the label as it was given, and the one that is more likely."""


class RowFinding(BaseModel):
    """One kind of remarkable examples."""

    model_config = ConfigDict(frozen=True)

    count: Count
    rows: tuple[FoundRow, ...] = Field((), max_length=FOUND_ROWS_MAX)
    """The first ones."""
    skipped: str = ""
    """Why it was not looked for; "" where it was."""


def not_looked(check: str, rule: str, why: str) -> RowFinding:
    """A finding that says why there is none."""
    return RowFinding(count=Count(check=check, rule=rule, num_bad=0, num_rows=0), skipped=why)


class Measured(BaseModel):
    """Everything that was measured of one batch."""

    model_config = ConfigDict(frozen=True)

    num_new: int
    """Examples that the parent version does not hold."""
    num_labels: int = 0
    """Opinions of the batch."""
    shards_by_labeler: Mapping[str, tuple[str, ...]]
    """The shards that hold at least one label of a labeler."""
    rejected: tuple[RejectedShard, ...] = ()
    row_counts: tuple[Count, ...]
    duplicates: Count
    leaks: Count
    agreement: tuple[LabelerRecord, ...]
    released: tuple[Place, ...] = ()
    """(shard, labeler) of the batch that a person released: in none of the other counts."""
    noise: tuple[LabelerRecord, ...] = ()
    """By nearest neighbours; empty when there are too few labels to say."""

    findings: tuple[RowFinding, ...] = ()
    """What is remarkable about single examples."""
    reliability: Reliability | None = None
    """How far the labelers agree beyond chance; told, not judged."""
    queued: QueueReport | None = None
    """Of the examples that came from a queue; told, not judged."""
    noise_skipped: str = ""
    """Why neighbours are not asked in this task; "" where they are."""
    labels_by_class: Mapping[str, int] = {}
    """Of a category: each class of the task, to the labels of it that the version holds."""
    is_first: bool = False
    """Whether no accepted version was before it."""

    @property
    def shards(self) -> tuple[str, ...]:
        """Every shard of the batch that could be read."""
        return tuple(sorted({shard for shards in self.shards_by_labeler.values() for shard in shards}))
