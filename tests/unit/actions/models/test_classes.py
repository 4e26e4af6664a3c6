"""Which classes there may be true labels of, and on which two revisions can be compared."""

from datetime import UTC, datetime

import pytest

from ratchet.actions.models.classes import OutputInUse, fetch_classes, fetch_common_classes
from ratchet.core.errors import Unavailable
from ratchet.core.labels.schema import CategoryOutput
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore
from tests.models import DIGITS, changed

CHAMPION = ModelRef(version="1", digest="old", uri="s3://models/digits/old", dataset_version="digits/v1")


def store(**classes_by_digest: tuple[str, ...]) -> FakeObjectStore:
    objects = FakeObjectStore()
    for digest, classes in classes_by_digest.items():
        spec = changed(DIGITS, {"classes": classes})
        objects.put(f"s3://models/digits/{digest}/task.json", spec.model_dump_json().encode())
    return objects


def ledger() -> FakeLedger:
    entries = FakeLedger()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    fields = {"seq": 1, "task": "digits", "kind": "promoted", "reason": "", "run_id": "", "at": at}
    entries.append(LedgerEntry(**fields, model=CHAMPION, champion=CHAMPION))
    return entries


@pytest.mark.parametrize(
    ("old", "new", "common"),
    [
        pytest.param(("a", "b"), ("b", "a"), None, id="the-same-ones"),
        pytest.param(("a", "b"), ("a", "b", "c"), {"a", "b"}, id="one-more"),
        pytest.param(("a", "b", "gone"), ("a", "b"), {"a", "b"}, id="one-less"),
        pytest.param(("a", "b"), ("x", "y"), set(), id="none-in-common"),
    ],
)
def test_revisions_are_compared_on_the_classes_of_both(old, new, common):
    objects = store(old=old, new=new)
    assert fetch_common_classes(objects, CHAMPION.uri, "s3://models/digits/new") == common


@pytest.mark.parametrize("content", [None, b"{", b"{}"])
def test_a_model_that_does_not_say_its_classes_hinders_nobody(content):
    objects = store(new=("a", "b"))
    if content is not None:
        objects.put(f"{CHAMPION.uri}/task.json", content)
    assert fetch_classes(objects, CHAMPION.uri) == ()
    assert fetch_common_classes(objects, CHAMPION.uri, "s3://models/digits/new") is None


def test_true_labels_may_be_of_the_task_files_classes_and_of_the_champions():
    in_use = OutputInUse(ledger(), store(old=("gone", "0")), output_of=lambda task: CategoryOutput(classes=("0", "1")))
    assert in_use.of("digits") == CategoryOutput(classes=("0", "1", "gone"))
    assert in_use.of("another") == CategoryOutput(classes=("0", "1"))


def test_the_champion_is_asked_for_every_30_s_and_its_absence_hinders_nobody():
    now_s, entries = [0.0], ledger()
    in_use = OutputInUse(
        entries,
        store(old=("gone", "0")),
        output_of=lambda task: CategoryOutput(classes=("0", "z")),
        monotonic_s=lambda: now_s[0],
    )
    assert in_use.of("digits") == CategoryOutput(classes=("0", "z", "gone"))

    def is_away(task: str) -> list[LedgerEntry]:
        raise Unavailable("the object store is away")

    entries.list_entries = is_away  # type: ignore[method-assign]
    for now_s[0] in (29.0, 31.0, 62.0):
        assert in_use.of("digits") == CategoryOutput(classes=("0", "z", "gone"))
