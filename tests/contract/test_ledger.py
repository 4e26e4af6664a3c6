"""What every ledger promises: entries in order, one winner a place. The object store behind it has its own contract."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from ratchet.core.errors import Conflict, DataRejected
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.core.ports import Ledger
from ratchet.stores.ledger import S3Ledger
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEDGERS: dict[str, Callable[[], Ledger]] = {
    "fake": FakeLedger,
    "s3": lambda: S3Ledger(FakeObjectStore(), "ratchet"),
}


@pytest.fixture(params=LEDGERS)
def ledger(request: pytest.FixtureRequest) -> Ledger:
    return LEDGERS[request.param]()


def entry(seq: int, *, task: str = "digits", run_id: str = "run-1") -> LedgerEntry:
    model = ModelRef(version=str(seq), digest=f"{seq:064d}", uri=f"s3://models/{task}/{seq}", dataset_version="v1")
    return LedgerEntry(
        seq=seq, task=task, kind="promoted", model=model, champion=model, reason="won", run_id=run_id, at=NOON
    )


def test_entries_come_back_in_order(ledger: Ledger) -> None:
    for seq in (2, 10, 1):
        ledger.append(entry(seq))
    assert ledger.list_entries("digits") == (entry(1), entry(2), entry(10))


def test_a_task_without_history_is_empty(ledger: Ledger) -> None:
    ledger.append(entry(1, task="digits-large"))
    assert ledger.list_entries("digits") == ()


def test_a_taken_place_is_a_conflict_and_stays(ledger: Ledger) -> None:
    ledger.append(entry(1))
    with pytest.raises(Conflict):
        ledger.append(entry(1, run_id="run-2"))
    assert ledger.list_entries("digits") == (entry(1),)


def test_the_same_entry_twice_is_one(ledger: Ledger) -> None:
    ledger.append(entry(1))
    ledger.append(entry(1))
    assert len(ledger.list_entries("digits")) == 1


def test_of_many_at_once_one_wins(ledger: Ledger) -> None:
    def try_append(number: int) -> bool:
        try:
            ledger.append(entry(1, run_id=f"run-{number}"))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_append, range(16))) == 1


def test_a_spoilt_entry_is_named() -> None:
    objects = FakeObjectStore()
    objects.put("s3://ratchet/ledger/digits/00000001.json", b'{"seq": 0}')
    with pytest.raises(DataRejected, match=r"ledger/digits/00000001\.json"):
        S3Ledger(objects, "ratchet").list_entries("digits")


class CountingObjects(FakeObjectStore):
    num_fetched = 0

    def fetch(self, uri: str) -> bytes:
        self.num_fetched += 1
        return super().fetch(uri)


def test_an_entry_is_read_once_and_again_when_it_was_restored() -> None:
    objects = CountingObjects()
    ledger = S3Ledger(objects, "ratchet")
    for seq in (1, 2):
        ledger.append(entry(seq))
    for _ in range(100):
        assert len(ledger.list_entries("digits")) == 2
    assert objects.num_fetched == 2
    restored = entry(2, run_id="run-2")
    objects.put("s3://ratchet/ledger/digits/00000002.json", restored.model_dump_json().encode())
    assert ledger.list_entries("digits")[-1] == restored
