"""What revisions answered, in numbers."""

from collections.abc import Mapping
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class RevisionCounts(BaseModel):
    """Counters of one revision, copies of mirrored requests among them."""

    model_config = ConfigDict(frozen=True)

    num_requests: int = 0
    num_errors: int = 0
    """Answers with a 5xx status, timeouts and resets."""
    num_refused: int = 0
    """Answers with a 4xx status: the request was wrong, so it is evidence of nothing."""
    num_by_latency_ms: Mapping[float, int] = {}
    """Cumulative histogram: upper bound in ms (inf last) to the number of requests at or under it."""


class TrafficStats(Protocol):
    """Counts of one object of this port never fall, although what counts (a gateway, a pod) starts again at 0: the
    adapter adds up what each series grew by (ratchet/adapters/counters.py), and nobody else has to."""

    def fetch_counts(self, revision: str) -> RevisionCounts: ...
