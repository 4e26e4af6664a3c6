"""Who signs, and whose signatures count."""

from typing import Protocol


class Signer(Protocol):
    """A private key."""

    @property
    def key_hint(self) -> str:
        """SHA-256 of the public key's PEM text: tells which key to verify with."""

    def sign(self, data: bytes) -> bytes:
        """The signature; the same data gives the same one."""


class TrustedKeys(Protocol):
    """Public keys whose signatures count."""

    def find_trouble(self, data: bytes, signature: bytes, *, key_hint: str) -> str:
        """Why this is no signature of the data by one of these keys; "" when it is one."""
