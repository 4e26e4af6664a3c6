"""Keys in PEM files: which are taken, and what is said of the others."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ratchet.adapters.ec_keys import EcSigner, EcTrustedKeys, hint_of
from ratchet.core.errors import SettingsError
from ratchet.settings import Settings
from tests.keys import KEY, OTHER_KEY, OTHER_SIGNER, SIGNER, TRUSTED, key_files


def test_without_a_key_nothing_is_signed_and_nothing_checked() -> None:
    assert (EcSigner.of(Settings()), EcTrustedKeys.of(Settings())) == (None, None)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_each_curve_signs_the_same_data_the_same_way(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    settings = key_files(tmp_path, ec.generate_private_key(curve))
    signer, trusted = EcSigner.of(settings), EcTrustedKeys.of(settings)
    assert signer is not None and trusted is not None
    signature = signer.sign(b"data")
    assert signature == signer.sign(b"data")
    assert trusted.find_trouble(b"data", signature, key_hint=signer.key_hint) == ""
    assert "does not match" in trusted.find_trouble(b"Data", signature, key_hint=signer.key_hint)


def test_a_key_that_was_replaced_still_counts_while_it_is_in_the_file(tmp_path: Path) -> None:
    both = EcTrustedKeys.of(key_files(tmp_path, KEY, OTHER_KEY))
    assert both is not None
    for signer in (SIGNER, OTHER_SIGNER):
        assert both.find_trouble(b"x", signer.sign(b"x"), key_hint=signer.key_hint) == ""
    assert "not trusted" in TRUSTED.find_trouble(
        b"x", OTHER_SIGNER.sign(b"x"), key_hint=hint_of(OTHER_KEY.public_key())
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param("", "no unencrypted private key", id="empty"),
        pytest.param("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no unencrypted", id="damaged"),
    ],
)
def test_a_key_file_that_is_wrong_is_named_with_its_variable(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "key.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=f"RATCHET_SIGNING_KEY_FILE.*{said}") as caught:
        EcSigner.of(Settings(signing_key_file=str(path)))
    assert "AAAA" not in str(caught.value), "a message never holds a key"


def test_a_file_without_public_keys_trusts_nobody_by_mistake(tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_text("nothing")
    with pytest.raises(SettingsError, match=r"RATCHET_TRUSTED_KEYS_FILE.*no public key"):
        EcTrustedKeys.of(Settings(trusted_keys_file=str(path)))


def test_refusing_unsigned_models_needs_keys_to_tell_by() -> None:
    with pytest.raises(SettingsError, match=r"RATCHET_UNSIGNED_MODELS.*RATCHET_TRUSTED_KEYS_FILE"):
        EcTrustedKeys.of(Settings(unsigned_models="refuse"))
