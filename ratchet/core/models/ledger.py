"""The ledger: an append-only history of who became champion when and why. Pure: what its entries mean."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.core.digest import digest_of

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
    actor: str = ""
    """Who did it: "pipeline", "guard", or a person's account. "" in entries from before this was noted."""
    previous: ModelRef | None = None
    """Who served before this entry; None when nobody did, and in entries from before this was noted."""
    verdict_digest: str = ""
    """SHA-256 of the verdict that decided it, kept in the folder of its run; "" where a person decided, or where it
    could not be kept."""
    after: str = ""
    """`entry_digest` of the entry before: an entry that is edited later breaks the chain. "" as for `actor`."""
    attestation: dict[str, Any] | None = Field(None, repr=False)
    """The signature over all of the above (core/models/statements.py); None where nobody who wrote it had a key."""


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


def next_entry(
    entries: Sequence[LedgerEntry],
    *,
    task: str,
    kind: LedgerKind,
    model: ModelRef,
    champion: ModelRef | None,
    reason: str,
    run_id: str,
    at: datetime,
    actor: str = "",
    verdict_digest: str = "",
) -> LedgerEntry:
    """The entry that follows these, chained to the last of them. actor: "" takes it from the run's name."""
    return LedgerEntry(
        seq=next_seq(entries),
        task=task,
        kind=kind,
        model=model,
        champion=champion,
        reason=reason,
        run_id=run_id,
        at=at,
        actor=actor or actor_of(run_id),
        previous=champion_of(entries),
        verdict_digest=verdict_digest,
        after=entry_digest(entries[-1]) if entries else "",
    )


def actor_of(run_id: str) -> str:
    """Who writes under this name: the guard and the command line have prefixes of their own, all else is a run's id."""
    prefix = run_id.partition("-")[0]
    return {"guard": "guard", "cli": "command line"}.get(prefix, "pipeline")


def entry_digest(entry: LedgerEntry) -> str:
    """What names an entry's whole content. Fields at their default are left out, so that a field that a later version
    adds does not change the digests of earlier entries; so is the signature, which is over this."""
    return digest_of(entry.model_dump(mode="json", exclude_defaults=True, exclude={"attestation"}))


def find_break(entries: Sequence[LedgerEntry]) -> str:
    """The first place where the history is not one chain: a gap, or an entry that was edited; "" when it is whole.

    An entry from before entries were chained says nothing of the one before it. The newest entry has no successor that
    would tell of an edit.
    """
    for number, entry in enumerate(entries, 1):
        if entry.seq != number:
            return f"ledger entry {number} is missing: the next one is {entry.seq}"
        before = entries[number - 2] if number > 1 else None
        if entry.after and (before is None or entry.after != entry_digest(before)):
            return f"ledger entry {number - 1} is not the one that entry {number} was written after"
    return ""


def entry_at(entries: Sequence[LedgerEntry], at: datetime) -> LedgerEntry | None:
    """The entry that said who served at that time; None before the first. An entry whose clock was behind the one
    before it counts from its place in the order."""
    standing = None
    for entry in entries:
        if entry.at > at:
            break
        standing = entry
    return standing
