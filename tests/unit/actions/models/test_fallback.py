"""Whether the champion could be served again is found out before a canary needs it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pytest

from ratchet.actions.models import fallback
from ratchet.actions.models.fallback import LoadProof, prove_nothing
from ratchet.core.errors import DataRejected
from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import StartedServer
from ratchet.stores.load_proofs import LoadProofs
from ratchet.tasks.identity import IDENTITY_FILES
from tests.fakes.object_store import FakeObjectStore
from tests.models import digits_model

URI = "s3://models/digits/champion"


class Probe:
    """A model server that answers, or does not."""

    def __init__(self, error: str = "") -> None:
        self.rows: list[Sequence[float]] = []
        self._error = error

    def start(self, model_path: Path) -> AbstractContextManager[StartedServer]:
        raise AssertionError(f"a proof asks {model_path} for answers alone")

    def fetch_answers(self, model_path: Path, inputs: pa.Table) -> Sequence[str]:
        if self._error:
            raise DataRejected(self._error)
        assert (model_path / "model.safetensors").is_file()
        self.rows += inputs["features"].to_pylist()
        return ["7"] * inputs.num_rows


@pytest.fixture
def objects() -> FakeObjectStore:
    return FakeObjectStore()


@pytest.fixture
def champion(tmp_path: Path, objects: FakeObjectStore) -> ModelRef:
    digest = digits_model(tmp_path / "model")
    objects.put_directory(tmp_path / "model", URI)
    return ModelRef(version="4", digest=digest, uri=URI, dataset_version="digits/v1")


def proof_of(objects: FakeObjectStore, probe: Probe | None = None) -> LoadProof:
    return LoadProof(objects, probe or Probe(), LoadProofs(objects, "ratchet"))


def test_a_model_is_loaded_by_the_real_server_once(objects: FakeObjectStore, champion: ModelRef) -> None:
    probe = Probe()
    for _ in range(2):
        reason = proof_of(objects, probe).prove(champion)
        assert reason.passed, reason.text
        assert [len(row) for row in probe.rows] == [64]


def test_what_served_has_been_loaded(objects: FakeObjectStore, champion: ModelRef) -> None:
    proof_of(objects).remember(champion)
    assert proof_of(objects, Probe("never asked")).prove(champion).passed


def test_another_version_of_the_server_loads_it_anew(
    objects: FakeObjectStore, champion: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof_of(objects).remember(champion)
    monkeypatch.setattr(fallback, "version", lambda name: "99")
    assert "too new" in proof_of(objects, Probe("too new")).prove(champion).text


def test_files_that_changed_are_another_model(objects: FakeObjectStore, champion: ModelRef) -> None:
    proof_of(objects).remember(champion)
    objects.put(f"{URI}/model.safetensors", b"\0" * 100)
    reason = proof_of(objects).prove(champion)
    assert not reason.passed
    assert "version 4" in reason.text and "digest" in reason.text


@pytest.mark.parametrize("name", IDENTITY_FILES)
def test_a_lost_file_is_known_before_it_is_needed(objects: FakeObjectStore, champion: ModelRef, name: str) -> None:
    objects.delete(f"{URI}/{name}")
    assert not proof_of(objects).prove(champion).passed


def test_a_lost_model_is_known_before_it_is_needed(champion: ModelRef) -> None:
    assert "is empty or does not exist" in proof_of(FakeObjectStore()).prove(champion).text


def test_what_the_server_says_is_the_reason(objects: FakeObjectStore, champion: ModelRef) -> None:
    assert "weights of another task" in proof_of(objects, Probe("weights of another task")).prove(champion).text


def test_untried_is_not_proven(champion: ModelRef) -> None:
    assert not prove_nothing(champion).passed
