"""What the entries of a ledger mean."""

from datetime import UTC, datetime

import pytest

from ratchet.core.models.ledger import (
    LedgerEntry,
    LedgerKind,
    ModelRef,
    champion_of,
    denied_digests_of,
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
