"""Keys on elliptic curves in PEM files: what `openssl ecparam -genkey` makes and `model_signing` uses.

Signatures are deterministic (RFC 6979): a step that is repeated signs the same bytes, so a write that met itself is
known to be the same.
"""

import hashlib
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ratchet.core.errors import SettingsError
from ratchet.settings import Settings, variable_of

_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
_HASH_OF: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
"""The curves that `model_signing` takes, and the hash that it takes with each."""
_MAKE = "`openssl ecparam -name prime256v1 -genkey -noout -out FILE` makes one"


class EcSigner:
    """`ports.Signer` over the private key of a PEM file. Its text is in no message."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def of(cls, settings: Settings) -> "EcSigner | None":
        """None where no key is set: then nothing is signed here."""
        path = settings.signing_key_file
        if not path:
            return None
        variable = variable_of("signing_key_file")
        try:
            key = serialization.load_pem_private_key(_read(path, variable), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SettingsError(f"{variable}: {path} holds no unencrypted private key in PEM. {_MAKE}.") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASH_OF:
            raise SettingsError(f"{variable}: the key in {path} is not on the curve P-256, P-384 or P-521. {_MAKE}.")
        return cls(key)

    @property
    def key_hint(self) -> str:
        return hint_of(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        digest = _HASH_OF[self._key.curve.name]()
        return self._key.sign(data, ec.ECDSA(digest, deterministic_signing=True))


class EcTrustedKeys:
    """`ports.TrustedKeys`: the public keys of a PEM file, one after the other, so that a key can be replaced."""

    def __init__(self, keys: tuple[ec.EllipticCurvePublicKey, ...]) -> None:
        self._by_hint = {hint_of(key): key for key in keys}

    @classmethod
    def of(cls, settings: Settings) -> "EcTrustedKeys | None":
        """None where no keys are set: then no signature is asked for."""
        path = settings.trusted_keys_file
        if not path:
            if settings.unsigned_models == "refuse":
                raise SettingsError(
                    f"{variable_of('unsigned_models')} is `refuse`, and {variable_of('trusted_keys_file')} names no "
                    "public keys to verify with. Set both, or neither."
                )
            return None
        variable = variable_of("trusted_keys_file")
        found = [_public_key(text, path, variable) for text in _PUBLIC.findall(_read(path, variable))]
        if not found:
            raise SettingsError(
                f"{variable}: {path} holds no public key in PEM. `openssl ec -in KEY -pubout` gives it."
            )
        return cls(tuple(found))

    def find_trouble(self, data: bytes, signature: bytes, *, key_hint: str) -> str:
        key = self._by_hint.get(key_hint)
        if key is None:
            return (
                f"signed by key {key_hint[:12] or '(none)'}, which is not trusted here. Check RATCHET_TRUSTED_KEYS_FILE"
            )
        try:
            key.verify(signature, data, ec.ECDSA(_HASH_OF[key.curve.name]()))
        except InvalidSignature:
            return "the signature does not match what it stands beside: one of them was changed"
        return ""


def hint_of(key: ec.EllipticCurvePublicKey) -> str:
    """As `model_signing` names a key."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public_key(text: bytes, path: str, variable: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{variable}: a public key in {path} cannot be read. Write it again.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASH_OF:
        raise SettingsError(f"{variable}: a key in {path} is not on the curve P-256, P-384 or P-521.")
    return key


def _read(path: str, variable: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{variable}: {path} cannot be read: {error.strerror}. Correct the path.") from None
