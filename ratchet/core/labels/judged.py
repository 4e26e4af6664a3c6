"""What a verdict of `validate` says about label shards. Pure."""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from ratchet.core.labels.quarantine import Judgement
from ratchet.core.labels.shards import Place
from ratchet.core.verdict import Verdict

ACCEPTED = "accepted"
REFUSED = "refused"


class AcceptedVersion(BaseModel):
    """A dataset version that `validate` accepted."""

    model_config = ConfigDict(frozen=True)

    version: str
    watermark: str
    """Key of the last label shard that it has looked at."""


class JudgedVersion(NamedTuple):
    """What a verdict says about label shards."""

    verdict: str
    watermark: str
    shards: frozenset[str]
    """That it accepted."""
    quarantined: frozenset[str]
    summary: str = ""
    """One line for people."""
    quarantined_rows: frozenset[Place] = frozenset()
    """In other shards: the labels of these labelers."""
    orders: int = 0
    """The last order about the quarantine that it knows of (`core.quarantine`)."""

    def judgement_of(self, version: str) -> Judgement:
        is_accepted = self.verdict == ACCEPTED
        return Judgement(
            version, self.orders, is_accepted, self.shards, self.quarantined, quarantined_rows=self.quarantined_rows
        )

    def covers(self, key: str) -> bool:
        return key in self.shards or key in self.quarantined


def judged_of(verdict: Verdict) -> JudgedVersion:
    return JudgedVersion(
        verdict=verdict.verdict,
        watermark=str(verdict.inputs.get("watermark", "")),
        shards=frozenset(verdict.inputs.get("shards", ())) if verdict.verdict == ACCEPTED else frozenset(),
        quarantined=frozenset(verdict.inputs.get("quarantined", ())),
        summary=verdict.summary(),
        quarantined_rows=frozenset(
            (key, labeler)
            for key, labelers in dict(verdict.inputs.get("quarantined_rows", {})).items()
            for labeler in labelers
        ),
        orders=int(verdict.inputs.get("orders", 0)),
    )
