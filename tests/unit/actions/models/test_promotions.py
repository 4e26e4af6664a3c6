"""Many who promote at once: one wins, and the ledger has no gap."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from ratchet.actions.models.promotions import allow_again, promote, record_refusal
from ratchet.core.errors import Conflict
from ratchet.core.models.ledger import ModelRef, champion_of, find_break
from ratchet.stores.ledger import S3Ledger
from tests.fakes.object_store import FakeObjectStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NUM_RACERS = 100


def model(name: str) -> ModelRef:
    return ModelRef(version=name, digest=name, uri=f"s3://models/digits/{name}", dataset_version="digits/v1")


@pytest.fixture
def ledger() -> S3Ledger:
    return S3Ledger(FakeObjectStore(), "ratchet")


def test_of_a_hundred_promotions_at_once_one_wins_and_the_ledger_has_no_gap(ledger: S3Ledger) -> None:
    promote(ledger, task="digits", model=model("0"), expected=(), reason="first", run_id="run-0", now=NOON)
    seen = ledger.list_entries("digits")

    def try_promote(number: int) -> bool:
        name, run_id = model(str(number)), f"run-{number}"
        try:
            promote(ledger, task="digits", model=name, expected=seen, reason="better", run_id=run_id, now=NOON)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(NUM_RACERS) as pool:
        won = [number for number, is_won in enumerate(pool.map(try_promote, range(1, NUM_RACERS + 1)), 1) if is_won]
    entries = ledger.list_entries("digits")
    assert [entry.seq for entry in entries] == [1, 2]
    assert [champion_of(entries)] == [model(str(number)) for number in won]
    assert entries[-1].previous == model("0")
    assert find_break(entries) == ""


def test_an_entry_names_the_person_who_gave_the_order(ledger: S3Ledger) -> None:
    refused = model("1")
    record_refusal(
        ledger, kind="rolled_back", task="digits", model=refused, reason="errs", run_id="run-1", now=NOON,
        verdict_digest="d" * 64,
    )  # fmt: skip
    allow_again(ledger, task="digits", model=refused, reason="the disk's fault", run_id="cli-1", now=NOON, actor="ada")
    first, second = ledger.list_entries("digits")
    assert (first.actor, first.verdict_digest) == ("pipeline", "d" * 64)
    assert (second.actor, second.reason, second.verdict_digest) == ("ada", "the disk's fault", "")
