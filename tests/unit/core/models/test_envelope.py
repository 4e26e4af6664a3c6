"""A signed statement is read as it was signed, or not at all."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.core.models.envelope import STATEMENT_TYPE, pre_authentication, read_statement, sign_statement
from ratchet.core.models.statements import files_in, files_statement
from tests.keys import OTHER_SIGNER, SIGNER, TRUSTED

STATEMENT = {"_type": STATEMENT_TYPE, "subject": [], "predicateType": "urn:test", "predicate": {"a": [1, "ß"]}}
BUNDLE = json.dumps(sign_statement(STATEMENT, SIGNER)).encode()


def test_what_is_signed_has_its_lengths_before_it() -> None:
    """The example of the DSSE protocol, with our type."""
    assert pre_authentication(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_a_statement_comes_back_and_signing_again_gives_the_same_bytes() -> None:
    assert read_statement(BUNDLE, TRUSTED, where="x") == STATEMENT
    assert json.dumps(sign_statement(STATEMENT, SIGNER)).encode() == BUNDLE


def test_a_key_that_is_not_trusted_is_named() -> None:
    with pytest.raises(DataRejected, match=f"x: signed by key {OTHER_SIGNER.key_hint[:12]}, which is not trusted"):
        read_statement(sign_statement(STATEMENT, OTHER_SIGNER), TRUSTED, where="x")


def test_a_trusted_keys_name_does_not_make_a_signature() -> None:
    forged = sign_statement(STATEMENT, OTHER_SIGNER)
    forged["verificationMaterial"]["publicKey"]["hint"] = SIGNER.key_hint
    with pytest.raises(DataRejected, match="does not match"):
        read_statement(forged, TRUSTED, where="x")


@given(place=st.integers(0, len(BUNDLE) - 1), flipped=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(place: int, flipped: int) -> None:
    """Changes nothing: in what is not signed and says nothing, such as the list of log entries."""
    spoilt = BUNDLE[:place] + bytes([BUNDLE[place] ^ flipped]) + BUNDLE[place + 1 :]
    try:
        read = read_statement(spoilt, TRUSTED, where="x")
    except DataRejected as error:
        assert str(error).startswith("x: ")
    else:
        assert read == STATEMENT


@pytest.mark.parametrize(
    "bundle",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b'{"mediaType": 1}', id="no-envelope"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param(BUNDLE.replace(b"v0.3", b"v0.9"), id="another-version"),
        pytest.param(BUNDLE.replace(b"in-toto", b"out-of-"), id="another-type"),
    ],
)
def test_what_is_no_bundle_is_refused(bundle: bytes) -> None:
    with pytest.raises(DataRejected, match="x: this is no signature"):
        read_statement(bundle, TRUSTED, where="x")


@pytest.mark.parametrize("payload", ["[]", '{"_type": "other"}', "no json"])
def test_a_signature_over_something_else_is_no_statement(payload: str) -> None:
    signature = SIGNER.sign(pre_authentication(payload.encode()))
    bundle: dict[str, Any] = json.loads(BUNDLE)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload.encode()).decode()
    bundle["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signature).decode(), "keyid": ""}]
    with pytest.raises(DataRejected, match="no in-toto statement"):
        read_statement(bundle, TRUSTED, where="x")


def test_files_come_back_and_a_list_at_odds_with_its_digest_does_not() -> None:
    files = {"b/c": "0" * 64, "a": "1" * 64}
    statement: Any = files_statement("model", files, ignored="model.sig")
    assert files_in(statement, where="x") == files
    statement["predicate"]["resources"][0]["digest"] = "2" * 64
    with pytest.raises(DataRejected, match="x: the list of signed files"):
        files_in(statement, where="x")
    with pytest.raises(DataRejected, match="urn:test"):
        files_in(STATEMENT, where="x")
