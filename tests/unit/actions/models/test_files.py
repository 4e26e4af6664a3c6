"""Are a model's files whole: said before any traffic moves, with what is wrong and what to do."""

from pathlib import Path

import pytest

from ratchet.actions.models.files import StoredModelFiles, find_missing, list_missing
from ratchet.core.models.ledger import ModelRef
from ratchet.tasks.identity import IDENTITY_FILES, model_digest
from tests.fakes.object_store import FakeObjectStore

FOLDER = "s3://models/t"


@pytest.fixture
def objects() -> FakeObjectStore:
    return FakeObjectStore()


@pytest.fixture
def stored(objects: FakeObjectStore, tmp_path: Path) -> ModelRef:
    for name in IDENTITY_FILES:
        (tmp_path / name).write_text(f"what {name} holds")
    digest = model_digest(tmp_path)
    objects.put_directory(tmp_path, f"{FOLDER}/{digest}")
    return ModelRef(version="3", digest=digest, uri=f"{FOLDER}/{digest}", dataset_version="t/v1")


def test_whole_files_are_no_trouble(objects: FakeObjectStore, stored: ModelRef) -> None:
    assert StoredModelFiles(objects).find_trouble(stored) == ""


@pytest.mark.parametrize("gone", [*((name,) for name in IDENTITY_FILES), IDENTITY_FILES])
def test_each_file_that_is_gone_is_named(objects: FakeObjectStore, stored: ModelRef, gone: tuple[str, ...]) -> None:
    for name in gone:
        objects.delete(f"{stored.uri}/{name}")
    trouble = StoredModelFiles(objects).find_trouble(stored)
    assert trouble.startswith(f"files missing in {stored.uri}: {', '.join(gone)}. Restore them")
    assert list_missing(objects, stored.uri) == gone


def test_changed_files_are_another_model(objects: FakeObjectStore, stored: ModelRef) -> None:
    objects.put(f"{stored.uri}/{IDENTITY_FILES[0]}", b"other weights")
    trouble = StoredModelFiles(objects).find_trouble(stored)
    assert trouble.startswith(f"files changed: {stored.uri}: ")
    assert stored.digest[:12] in trouble


def test_a_listing_of_many_harms_only_the_damaged(objects: FakeObjectStore, stored: ModelRef) -> None:
    uris = [stored.uri, f"{FOLDER}/gone", "runs:/abc/model", "s3://elsewhere/t/x", ""]
    assert find_missing(objects, uris) == {uri: () if uri == stored.uri else IDENTITY_FILES for uri in uris}
