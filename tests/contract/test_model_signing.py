"""Our signatures are those of OpenSSF's `model_signing`: its unmodified package takes ours, and we take its."""

from pathlib import Path

import pytest

from ratchet.adapters.ec_keys import EcTrustedKeys
from ratchet.core.models.envelope import STATEMENT_TYPE
from ratchet.tasks.signature import SIGNATURE, check_folder, sign_folder
from tests.keys import KEY, SIGNER, key_files

stock_signing = pytest.importorskip("model_signing.signing", reason="the extra `dev` is not installed")
stock_verifying = pytest.importorskip("model_signing.verifying")

NO_PROVENANCE = {"_type": STATEMENT_TYPE, "subject": [], "predicateType": "urn:test", "predicate": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name in ("model.safetensors", "task.json", "code/a/b.py", "code/a.py", "verdict.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"what {name} holds")
    return folder


def stock_verify(folder: Path, keys: Path) -> None:
    stock_verifying.Config().use_elliptic_key_verifier(public_key=keys).verify(folder, folder / SIGNATURE)


def test_the_stock_package_verifies_what_we_signed(folder: Path, tmp_path: Path) -> None:
    keys = Path(key_files(tmp_path, KEY).trusted_keys_file)
    sign_folder(folder, SIGNER, name="digits", provenance=NO_PROVENANCE)
    stock_verify(folder, keys)
    (folder / "code/a.py").write_text("else")
    with pytest.raises(ValueError, match=r"code/a\.py"):
        stock_verify(folder, keys)


def test_we_verify_what_the_stock_package_signed(folder: Path, tmp_path: Path) -> None:
    settings = key_files(tmp_path, KEY)
    config = stock_signing.Config().use_elliptic_key_signer(private_key=Path(settings.signing_key_file))
    config.sign(folder, folder / SIGNATURE)
    assert check_folder(folder, EcTrustedKeys.of(settings), is_required=True) == ""
