"""Who is champion, written down: entries of the ledger, which is the truth. `registry_mirror` tells the registry."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import uuid4

from ratchet.core.errors import Conflict
from ratchet.core.models.ledger import (
    LedgerEntry,
    LedgerKind,
    ModelRef,
    champion_of,
    denied_digests_of,
    next_entry,
)
from ratchet.core.ports import Ledger

_ENDINGS = frozenset({"rolled_back", "withdrawn"})
_NUM_ATTEMPTS = 5
"""Races for one place in the ledger: each loser reads again. Five in a row do not happen with one run in flight."""


def promote(
    ledger: Ledger,
    *,
    task: str,
    model: ModelRef,
    expected: Sequence[LedgerEntry],
    reason: str,
    run_id: str,
    now: datetime,
    verdict_digest: str = "",
) -> None:
    """Make `model` champion in the ledger; twice by one run is once. Conflict as `check_comparable` says."""

    def entry_of(entries: Sequence[LedgerEntry]) -> LedgerEntry | None:
        if champion_of(entries) == model:
            return None
        check_comparable(entries, task=task, model=model, expected=expected, run_id=run_id)
        return next_entry(
            entries,
            task=task,
            kind="promoted",
            model=model,
            champion=model,
            reason=reason,
            run_id=run_id,
            at=now,
            verdict_digest=verdict_digest,
        )

    _append(ledger, entry_of, task=task, run_id=run_id)


def check_comparable(
    entries: Sequence[LedgerEntry], *, task: str, model: ModelRef, expected: Sequence[LedgerEntry], run_id: str
) -> None:
    """Conflict unless `model` may still be promoted by what was seen while `expected` was the ledger.

    It was compared with the champion of `expected`: with another it was not. And nobody may have ended it since. Other
    entries (somebody else's canary was withdrawn, a model was allowed again) change nothing.
    """
    since = entries[len(expected) :]
    is_ended = any(entry.model.digest == model.digest and entry.kind in _ENDINGS for entry in since)
    if champion_of(entries) != champion_of(expected) or is_ended:
        raise Conflict(
            f"The ledger of {task} has a new entry since this rollout (run {run_id}) began: another rollout finished "
            f"first, or this one was ended by hand, so this model was not compared with the champion. Start it "
            f"again; see "
            f"`ratchet models history {task}`."
        )


def record_refusal(
    ledger: Ledger,
    *,
    kind: LedgerKind,
    task: str,
    model: ModelRef,
    reason: str,
    run_id: str,
    now: datetime,
    actor: str = "",
    verdict_digest: str = "",
) -> None:
    """Write that a canary was rolled back or withdrawn; the champion stays. Twice by one run is once."""

    def entry_of(entries: Sequence[LedgerEntry]) -> LedgerEntry | None:
        if ending_of(entries, model=model, run_id=run_id):
            return None
        return next_entry(
            entries,
            task=task,
            kind=kind,
            model=model,
            champion=champion_of(entries),
            reason=reason,
            run_id=run_id,
            at=now,
            actor=actor,
            verdict_digest=verdict_digest,
        )

    _append(ledger, entry_of, task=task, run_id=run_id)


def allow_again(
    ledger: Ledger, *, task: str, model: ModelRef, reason: str, run_id: str, now: datetime, actor: str = ""
) -> bool:
    """Take a model off the deny-list; False when it was not on it."""
    was_denied = False

    def entry_of(entries: Sequence[LedgerEntry]) -> LedgerEntry | None:
        nonlocal was_denied
        if model.digest not in denied_digests_of(entries):
            return None
        was_denied = True
        return next_entry(
            entries,
            task=task,
            kind="allowed",
            model=model,
            champion=champion_of(entries),
            reason=reason,
            run_id=run_id,
            at=now,
            actor=actor,
        )

    _append(ledger, entry_of, task=task, run_id=run_id)
    return was_denied


def allow_newest_refused(ledger: Ledger, *, task: str, reason: str, now: datetime, actor: str = "") -> ModelRef | None:
    """Take the model that was rolled back last off the deny-list; None when no model is on it."""
    entries = ledger.list_entries(task)
    denied = denied_digests_of(entries)
    refused = (entry for entry in reversed(entries) if entry.kind == "rolled_back" and entry.model.digest in denied)
    newest = next(refused, None)
    if newest is None:
        return None
    run_id = f"cli-{uuid4().hex[:12]}"
    allow_again(ledger, task=task, model=newest.model, reason=reason, run_id=run_id, now=now, actor=actor)
    return newest.model


def _append(
    ledger: Ledger, entry_of: Callable[[Sequence[LedgerEntry]], LedgerEntry | None], *, task: str, run_id: str
) -> None:
    """Write what follows from the entries, and again when somebody else wrote in between."""
    for _ in range(_NUM_ATTEMPTS):
        entry = entry_of(ledger.list_entries(task))
        if entry is None:
            return
        try:
            ledger.append(entry)
        except Conflict:
            continue
        return
    raise Conflict(f"The ledger of {task} changed {_NUM_ATTEMPTS} times while run {run_id} wrote to it. Run it again.")


def ending_of(entries: Sequence[LedgerEntry], *, model: ModelRef, run_id: str) -> LedgerEntry | None:
    """How this run ended for this model, if it did: each run of a rollout writes one entry."""
    own = (
        entry
        for entry in reversed(entries)
        if entry.run_id == run_id and entry.model.digest == model.digest and entry.kind != "allowed"
    )
    return next(own, None)


def ending_since(entries: Sequence[LedgerEntry], *, model: ModelRef, since: datetime) -> LedgerEntry | None:
    """The first entry that ended a rollout of this model which began then, by whoever wrote it; None while it runs."""
    own = (entry for entry in entries if entry.model.digest == model.digest and entry.kind != "allowed")
    return next((entry for entry in own if entry.at >= since), None)
