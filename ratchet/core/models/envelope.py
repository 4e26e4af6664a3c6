"""Signed statements: in-toto, in a DSSE envelope, in a Sigstore bundle: the format of OpenSSF's `model_signing`. Pure.

Sources: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md (what is signed), Sigstore's bundle v0.3.
The keys are behind ports.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from ratchet.core.digest import canonical_json
from ratchet.core.errors import DataRejected
from ratchet.core.ports import Signer, TrustedKeys

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_BYTES_MAX = 16 * 2**20
"""A statement names some hundred bytes a file; a model has some hundred files."""

Statement = Mapping[str, Any]


def sign_statement(statement: Statement, signer: Signer) -> dict[str, Any]:
    """The statement with its signature, as a bundle."""
    payload = canonical_json(statement).encode()
    return {
        "mediaType": _BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signer.key_hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signer.sign(pre_authentication(payload))).decode(), "keyid": ""}],
        },
    }


def read_statement(bundle: Mapping[str, Any] | bytes, keys: TrustedKeys, *, where: str) -> Statement:
    """What was signed, once its signature is found to be of one of these keys. DataRejected says what is wrong."""
    payload, signature, key_hint = _parts_of(bundle, where=where)
    trouble = keys.find_trouble(pre_authentication(payload), signature, key_hint=key_hint)
    if trouble:
        raise DataRejected(f"{where}: {trouble}")
    try:
        statement = json.loads(payload)
        is_statement = statement["_type"] == STATEMENT_TYPE
    except (ValueError, KeyError, TypeError):
        is_statement = False
    if not is_statement:
        raise DataRejected(f"{where}: what was signed is no in-toto statement ({STATEMENT_TYPE}).")
    return dict(statement)


def pre_authentication(payload: bytes) -> bytes:
    """The bytes that are signed: type and content, each with its length."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _parts_of(bundle: Mapping[str, Any] | bytes, *, where: str) -> tuple[bytes, bytes, str]:
    try:
        document = json.loads(bundle) if isinstance(bundle, bytes) else bundle
        envelope = document["dsseEnvelope"]
        if document["mediaType"] != _BUNDLE_TYPE or envelope["payloadType"] != PAYLOAD_TYPE:
            raise ValueError("another format")
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        return payload, signature, str(document["verificationMaterial"]["publicKey"]["hint"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, binascii.Error):
        raise DataRejected(f"{where}: this is no signature in the format {_BUNDLE_TYPE}.") from None
