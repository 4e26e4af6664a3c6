"""The ledger: an append-only history of who became champion when and why. Pure: what its entries mean."""

from collections.abc import Sequence
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

LedgerKind = Literal["promoted", "rolled_back", "withdrawn"]


class ModelRef(BaseModel):
    """One trained model, wherever it is named: registry version, identity, place."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    version: str
    """Version in the registry, "3"."""
    digest: str
    """Identity: digest of the model's files."""
    uri: str
    """`s3://models/<task>/<digest>`."""
    dataset_version: str


class LedgerEntry(BaseModel):
    """One line of history. Entry `seq` is written only where no entry `seq` is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = Field(ge=1)
    task: str
    kind: LedgerKind
    model: ModelRef
    """promoted: the new champion. rolled_back: the model that is refused from now on. withdrawn: a model that got no
    verdict (too little traffic, a run that died): closed, not refused; `version` is "" where nobody knows it."""
    champion: ModelRef | None
    """Who serves after this entry; None when nobody does."""
    reason: str
    run_id: str
    at: AwareDatetime


def champion_of(entries: Sequence[LedgerEntry]) -> ModelRef | None:
    """Who serves now, by the newest entry; None before the first promotion."""
    return entries[-1].champion if entries else None


def previous_of(entries: Sequence[LedgerEntry]) -> ModelRef | None:
    """The champion before this one that is not deny-listed: where a rollback goes."""
    champion = champion_of(entries)
    denied = denied_digests_of(entries)
    for entry in reversed(entries):
        model = entry.champion
        if model is not None and model != champion and model.digest not in denied:
            return model
    return None


def denied_digests_of(entries: Sequence[LedgerEntry]) -> frozenset[str]:
    """Models that were rolled back: they never deploy again by themselves."""
    return frozenset(entry.model.digest for entry in entries if entry.kind == "rolled_back")


def next_seq(entries: Sequence[LedgerEntry]) -> int:
    return entries[-1].seq + 1 if entries else 1
