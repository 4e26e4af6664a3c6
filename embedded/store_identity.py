"""The one TLS identity of the object store: its parts, and we, show it to each other; whoever cannot is refused.

Key and certificate lie in one file, replaced at once: a kill leaves no key without its certificate.
"""

import ipaddress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from embedded.layout import write_private

_VALID_FROM = datetime(2000, 1, 1, tzinfo=UTC)
_VALID_UNTIL = datetime(2999, 12, 31, tzinfo=UTC)
"""Nobody but this stack trusts it, and it goes when its file does: an expiry would only be an outage with a date."""


def make_identity(path: Path) -> None:
    """Write key and certificate (PEM, mode 0600) unless they are there and whole. No data depends on them."""
    if not (path.is_file() and is_whole(path.read_bytes())):
        write_private(path, render_identity())


def is_whole(pem: bytes) -> bool:
    """Whether this is a private key with its own certificate. With half of it the store would listen to everybody."""
    try:
        certificate, key = x509.load_pem_x509_certificate(pem), load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        return False
    of_key, of_certificate = (
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for public in (key.public_key(), certificate.public_key())
    )
    return of_key == of_certificate


def render_identity() -> str:
    """A new P-256 key and a certificate of 127.0.0.1 that signs itself, and so is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ratchet object store")])
    addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (private + certificate.public_bytes(Encoding.PEM)).decode()
