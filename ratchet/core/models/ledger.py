"""The ledger: an append-only history of who became champion when and why. Pure: what its entries mean."""

from collections.abc import Sequence
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

LedgerKind = Literal["promoted", "rolled_back", "withdrawn", "allowed"]


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
    verdict (too little traffic, a run that died): closed, not refused; `version` is "" where nobody knows it. allowed:
    a person takes an earlier rolled_back of this model back, and says why."""
    champion: ModelRef | None
    """Who serves after this entry; None when nobody does."""
    reason: str
    run_id: str
    at: AwareDatetime


def champion_of(entries: Sequence[LedgerEntry]) -> ModelRef | None:
    """Who serves now, by the newest entry; None before the first promotion."""
    return entries[-1].champion if entries else None


def previous_of(entries: Sequence[LedgerEntry]) -> ModelRef | None:
    """The champion before this one that was not itself rolled back: where a rollback goes."""
    return next(iter(earlier_champions_of(entries)), None)


def earlier_champions_of(entries: Sequence[LedgerEntry]) -> tuple[ModelRef, ...]:
    """Those who served before this champion and were not rolled back, each once, the newest first: proven, all of them.

    A model that was allowed again is none until it has been promoted again: nobody has judged it since.
    """
    champion, fallen = champion_of(entries), set[str]()
    for entry in entries:
        if entry.kind == "rolled_back":
            fallen.add(entry.model.digest)
        elif entry.kind == "promoted":
            fallen.discard(entry.model.digest)
    if champion is not None:
        fallen.add(champion.digest)
    newest_first: dict[str, ModelRef] = {}
    for entry in reversed(entries):
        if entry.champion is not None and entry.champion.digest not in fallen:
            newest_first.setdefault(entry.champion.digest, entry.champion)
    return tuple(newest_first.values())


def denied_digests_of(entries: Sequence[LedgerEntry]) -> frozenset[str]:
    """Models that were rolled back, and not allowed again since: they never deploy by themselves."""
    denied: set[str] = set()
    for entry in entries:
        if entry.kind == "rolled_back":
            denied.add(entry.model.digest)
        elif entry.kind == "allowed":
            denied.discard(entry.model.digest)
    return frozenset(denied)


def refusal_of(entries: Sequence[LedgerEntry], digest: str) -> LedgerEntry | None:
    """Why this model is refused: its newest `rolled_back`; None when it is not."""
    if digest not in denied_digests_of(entries):
        return None
    return next(entry for entry in reversed(entries) if entry.kind == "rolled_back" and entry.model.digest == digest)


def next_seq(entries: Sequence[LedgerEntry]) -> int:
    return entries[-1].seq + 1 if entries else 1
