"""The model server asks for the signature before it reads anything of a model."""

import logging
from pathlib import Path

import pytest

from ratchet.core.errors import DataRejected, SettingsError
from ratchet.core.models.envelope import STATEMENT_TYPE
from ratchet.serving.__main__ import check_signature, main
from ratchet.tasks.signature import SIGNATURE, sign_folder
from tests.keys import KEY, SIGNER, key_files

STATEMENT = {"_type": STATEMENT_TYPE, "subject": [], "predicateType": "urn:test", "predicate": {}}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATCHET_TRUSTED_KEYS_FILE", key_files(tmp_path, KEY).trusted_keys_file)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "task.json").write_text("{}")
    sign_folder(folder, SIGNER, name="digits", provenance=STATEMENT)
    return folder


def test_a_signed_model_is_taken(model: Path) -> None:
    check_signature(model)


def test_a_changed_model_does_not_start_and_the_file_is_named(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    (model / "task.json").write_text("{ }")
    assert main(["--model_name", "digits", "--model_dir", str(model)]) == DataRejected.exit_code
    assert "task.json has changed since it was signed" in caplog.text


def test_an_unsigned_model_is_told_or_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (model / SIGNATURE).unlink()
    with caplog.at_level(logging.WARNING):
        check_signature(model)
    assert "this model is not signed" in caplog.text
    monkeypatch.setenv("RATCHET_UNSIGNED_MODELS", "refuse")
    with pytest.raises(DataRejected, match="not signed"):
        check_signature(model)


def test_keys_that_are_not_there_stop_the_server(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_TRUSTED_KEYS_FILE", str(model / "gone.pem"))
    with pytest.raises(SettingsError, match="RATCHET_TRUSTED_KEYS_FILE"):
        check_signature(model)
