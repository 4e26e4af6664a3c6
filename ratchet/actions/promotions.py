"""Who is champion, written down: one ledger entry, then the aliases that follow from the ledger.

The ledger is the truth. Aliases are its shadow in the registry: `settle_aliases` derives them all from the entries, so
a crash between the two is mended by doing it again.
"""

from collections.abc import Sequence
from datetime import datetime

from ratchet.core.errors import Conflict
from ratchet.core.ledger import (
    LedgerEntry,
    LedgerKind,
    ModelRef,
    champion_of,
    denied_digests_of,
    next_seq,
    previous_of,
)
from ratchet.core.ports import Ledger, Registry

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
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
) -> None:
    """Make `model` champion in the ledger. Conflict when anything was written since `expected` was read.

    The model was compared with the champion of `expected`; with another it was not.
    """
    ledger.append(
        LedgerEntry(
            seq=next_seq(expected),
            task=task,
            kind="promoted",
            model=model,
            champion=model,
            reason=reason,
            run_id=run_id,
            at=now,
        )
    )


def record_refusal(
    ledger: Ledger, *, kind: LedgerKind, task: str, model: ModelRef, reason: str, run_id: str, now: datetime
) -> None:
    """Write that a canary was rolled back or withdrawn; the champion stays. Twice by one run is once."""
    for _ in range(_NUM_ATTEMPTS):
        entries = ledger.list_entries(task)
        if ending_of(entries, model=model, run_id=run_id):
            return
        entry = LedgerEntry(
            seq=next_seq(entries),
            task=task,
            kind=kind,
            model=model,
            champion=champion_of(entries),
            reason=reason,
            run_id=run_id,
            at=now,
        )
        try:
            ledger.append(entry)
        except Conflict:
            continue
        return
    raise Conflict(f"The ledger of {task} changed {_NUM_ATTEMPTS} times while run {run_id} wrote to it. Run it again.")


def ending_of(entries: Sequence[LedgerEntry], *, model: ModelRef, run_id: str) -> LedgerEntry | None:
    """How this run ended for this model, if it did: each run of a rollout writes one entry."""
    own = (entry for entry in reversed(entries) if entry.run_id == run_id and entry.model.digest == model.digest)
    return next(own, None)


def settle_aliases(registry: Registry, ledger: Ledger, *, task: str) -> None:
    """Set champion and previous as the ledger says, and drop a challenger that won or was refused."""
    entries = ledger.list_entries(task)
    aliases = registry.fetch_aliases(task)
    champion = champion_of(entries)
    for alias, model in ((CHAMPION, champion), (PREVIOUS, previous_of(entries))):
        wanted = model.version if model else ""
        if not wanted and alias in aliases:
            registry.remove_alias(task, alias)
        elif wanted and aliases.get(alias) != wanted:
            registry.set_alias(task, alias, wanted)
    denied = denied_digests_of(entries)
    decided = {entry.model.version for entry in entries if entry.model == champion or entry.model.digest in denied}
    if aliases.get(CHALLENGER) in decided:
        registry.remove_alias(task, CHALLENGER)
