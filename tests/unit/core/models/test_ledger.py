"""What the entries of a ledger mean."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.ledger import (
    LedgerEntry,
    LedgerKind,
    ModelRef,
    actor_of,
    champion_of,
    denied_digests_of,
    entry_at,
    entry_digest,
    find_break,
    next_entry,
    next_seq,
    previous_of,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def model(name: str) -> ModelRef:
    return ModelRef(version=name, digest=name, uri=f"s3://models/t/{name}", dataset_version="t/v1")


def history(*steps: tuple[LedgerKind, str, str | None]) -> list[LedgerEntry]:
    return [
        LedgerEntry(
            seq=seq,
            task="t",
            kind=kind,
            model=model(name),
            champion=model(champion) if champion else None,
            reason="because",
            run_id=f"run-{seq}",
            at=NOON,
        )
        for seq, (kind, name, champion) in enumerate(steps, 1)
    ]


@pytest.mark.parametrize(
    ("entries", "champion", "previous", "denied"),
    [
        pytest.param(history(), None, None, set(), id="nothing-yet"),
        pytest.param(history(("promoted", "a", "a")), "a", None, set(), id="first"),
        pytest.param(history(("promoted", "a", "a"), ("promoted", "b", "b")), "b", "a", set(), id="second"),
        pytest.param(
            history(("promoted", "a", "a"), ("rolled_back", "b", "a")), "a", None, {"b"}, id="canary-rolled-back"
        ),
        pytest.param(history(("promoted", "a", "a"), ("withdrawn", "b", "a")), "a", None, set(), id="withdrawn"),
        pytest.param(
            history(("promoted", "a", "a"), ("promoted", "b", "b"), ("rolled_back", "b", "a")),
            "a",
            None,
            {"b"},
            id="champion-rolled-back",
        ),
        pytest.param(
            history(("promoted", "a", "a"), ("promoted", "b", "b"), ("rolled_back", "b", "a"), ("allowed", "b", "a")),
            "a",
            None,
            set(),
            id="allowed-again-but-no-way-back",
        ),
        pytest.param(
            history(
                *(("promoted", "a", "a"), ("promoted", "b", "b"), ("rolled_back", "b", "a"), ("allowed", "b", "a")),
                *(("promoted", "b", "b"), ("rolled_back", "b", "a")),
            ),
            "a",
            None,
            {"b"},
            id="allowed-once-is-not-allowed-for-ever",
        ),
        pytest.param(history(("withdrawn", "a", None)), None, None, set(), id="first-never-ready"),
    ],
)
def test_the_entries_say_who_serves_served_and_never_will(
    entries: list[LedgerEntry], champion: str | None, previous: str | None, denied: set[str]
) -> None:
    assert champion_of(entries) == (model(champion) if champion else None)
    assert previous_of(entries) == (model(previous) if previous else None)
    assert denied_digests_of(entries) == denied
    assert next_seq(entries) == len(entries) + 1


def chain(*kinds: LedgerKind, first: tuple[LedgerEntry, ...] = ()) -> tuple[LedgerEntry, ...]:
    """A minute between two entries; promotions name their own model, all else a canary."""
    entries = first
    for kind in kinds:
        seq = next_seq(entries)
        named = model(f"m{seq}")
        entries += (
            next_entry(
                entries,
                task="t",
                kind=kind,
                model=named,
                champion=named if kind == "promoted" else champion_of(entries),
                reason="because",
                run_id=f"run-{seq}",
                at=NOON + timedelta(minutes=seq),
            ),
        )
    return entries


def test_an_entry_says_who_did_it_and_who_served_before() -> None:
    first, second = chain("promoted", "promoted")
    assert (first.previous, second.previous) == (None, model("m1"))
    assert (first.after, second.after) == ("", entry_digest(first))
    assert second.actor == "pipeline"


@pytest.mark.parametrize(
    ("run_id", "actor"),
    [
        pytest.param("guard-rollback-3", "guard", id="guard"),
        pytest.param("cli-0a1b2c", "command line", id="command-line"),
        pytest.param("6f9619ff-8b86-d011-b42d-00cf4fc964ff", "pipeline", id="run"),
    ],
)
def test_the_name_of_a_deed_says_who_does_it(run_id: str, actor: str) -> None:
    assert actor_of(run_id) == actor


def test_an_entry_from_before_actors_reads_as_it_was_and_keeps_its_digest() -> None:
    """Its digest must stay the same when fields are added: the entry after it names it."""
    old = {
        "seq": 1, "task": "t", "kind": "promoted", "model": model("a").model_dump(),
        "champion": model("a").model_dump(), "reason": "won", "run_id": "run-1", "at": "2026-01-01T12:00:00Z",
    }  # fmt: skip
    entry = LedgerEntry.model_validate_json(json.dumps(old))
    assert (entry.actor, entry.previous, entry.verdict_digest, entry.after) == ("", None, "", "")
    assert entry_digest(entry) == "5460912b1fb8760e211cdb8a0e3fea7f8db087ab5dc56d2df08c0b5c90ce4a0f"
    assert find_break((entry, *chain("promoted", first=(entry,))[1:])) == ""


@pytest.mark.parametrize(
    ("minute", "champion"),
    [
        pytest.param(0.9, None, id="before-the-first"),
        pytest.param(1.0, "m1", id="at-the-moment-of-the-entry"),
        pytest.param(2.5, "m1", id="a-withdrawn-canary-changes-nothing"),
        pytest.param(3.0, "m3", id="the-next-champion"),
        pytest.param(1e6, "m3", id="now"),
    ],
)
def test_the_ledger_tells_who_served_at_a_time(minute: float, champion: str | None) -> None:
    entry = entry_at(chain("promoted", "withdrawn", "promoted"), NOON + timedelta(minutes=minute))
    assert (entry.champion.digest if entry and entry.champion else None) == champion


@given(
    kinds=st.lists(st.sampled_from(["promoted", "rolled_back", "withdrawn", "allowed"]), min_size=2, max_size=8),
    data=st.data(),
)
def test_an_entry_that_was_edited_or_removed_is_noticed(kinds: list[LedgerKind], data: st.DataObject) -> None:
    entries = list(chain(*kinds))
    assert find_break(entries) == ""
    place = data.draw(st.integers(0, len(entries) - 2))
    edited = entries[place].model_copy(update={"reason": "another"})
    assert f"entry {place + 1}" in find_break([*entries[:place], edited, *entries[place + 1 :]])
    assert f"entry {place + 1} is missing" in find_break([*entries[:place], *entries[place + 1 :]])
