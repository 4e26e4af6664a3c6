"""TLS to a server with a CA of its own: whom to trust, who we are, and what a refused certificate means in words."""

import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ratchet.core.errors import SettingsError

if TYPE_CHECKING:
    from cryptography import x509

_LOOK_TIMEOUT_S = 5.0
_EXPIRED, _NOT_YET_VALID = 10, 9
_WRONG_NAMES = {62, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_CUT_SHORT = ("UNEXPECTED_EOF_WHILE_READING", "EOF occurred")
"""A connection that ended, not a certificate: another try may help."""


class Trust(NamedTuple):
    """By which CA a server's certificate is checked."""

    ca_pem: str = ""
    """"" = the system's certificates, or those that SSL_CERT_FILE names."""
    source: str = ""
    """Where `ca_pem` is from, for errors."""
    next_step: str = "Set RATCHET_KUBERNETES_CA_FILE to the PEM file of the CA that issued it"
    server_name: str = ""
    """The name that the certificate must have; "" = the URL's."""
    is_checked: bool = True


SYSTEM_TRUST = Trust()


def read_ca(path: str, *, variable: str) -> str:
    """The certificates of a PEM file. SettingsError, with the setting's name, when it holds none."""
    try:
        certificates = certificates_in(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise SettingsError(f"{variable} names {path}, which cannot be read: {error}. Correct the path.") from None
    if not certificates:
        raise SettingsError(f"{variable} names {path}, which holds no PEM certificate. Name the CA's PEM file.")
    return certificates


def certificates_in(pem: bytes) -> str:
    """The certificates alone: bundles have names in any alphabet between them, and OpenSSL takes ASCII."""
    return "\n".join(_CERTIFICATE.findall(pem.decode("ascii", errors="ignore")))


def context_of(trust: Trust, certificate_pem: str = "") -> ssl.SSLContext:
    """`certificate_pem`: our client certificate and its key, one after the other; "" = none."""
    try:
        context = ssl.create_default_context(cadata=trust.ca_pem or None)
    except ssl.SSLError as error:
        raise SettingsError(f"{trust.source} holds no usable CA certificate: {error}. Correct it.") from None
    if not trust.is_checked:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate_pem:
        _load_certificate(context, certificate_pem)
    return context


def _load_certificate(context: ssl.SSLContext, pem: str) -> None:
    """OpenSSL reads a key from a file only: one in memory leaves no copy of it on disk."""
    descriptor = os.memfd_create("client-certificate")
    try:
        os.write(descriptor, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except ssl.SSLError as error:
        raise SettingsError(
            f"The client certificate cannot be used: {error}. It must be PEM, with the key that belongs to it."
        ) from None
    finally:
        os.close(descriptor)


def explain(error: BaseException, url: str, trust: Trust) -> str:
    """Why TLS failed, with both certificates' names and the next step; "" when `error` is about something else."""
    cause = next((each for each in _chain(error) if isinstance(each, ssl.SSLError)), None)
    if cause is None or any(part in str(cause) for part in _CUT_SHORT):
        return ""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{url}: the server's certificate is not trusted: {_untrusted(cause, url, trust)}."
    reason = cause.reason or str(cause)
    if "ALERT" in reason:
        text = "the server refuses our client certificate, or requires one"
        return f"{url}: {text} ({reason}). Correct the client certificate and key of the kubeconfig's user."
    return f"{url}: TLS failed ({reason}). Check that the endpoint is the API server's, and speaks https."


def _untrusted(error: ssl.SSLCertVerificationError, url: str, trust: Trust) -> str:
    told = _describe(url)
    checked = f"checked against {trust.source or _system_source()}"
    if error.verify_code in _WRONG_NAMES:
        return f"{error.verify_message} ({told}). Use one of its names in the endpoint"
    if error.verify_code in {_EXPIRED, _NOT_YET_VALID}:
        return f"{error.verify_message} ({told}). Renew it on the server, or correct this machine's clock"
    return f"{error.verify_message} ({told}; {checked}). {trust.next_step}"


def _system_source() -> str:
    """OpenSSL's default, which SSL_CERT_FILE and SSL_CERT_DIR replace."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or "no certificates: this system has none"


def _describe(url: str) -> str:
    """Of the certificate that the server shows, taken without trusting it."""
    from cryptography import x509

    parts = urlsplit(url)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host = parts.hostname or ""
    try:
        with (
            socket.create_connection((host, parts.port or 443), timeout=_LOOK_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=host) as connection,
        ):
            shown = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError) as error:
        return f"the certificate could not be looked at: {error}"
    names = ", ".join(_names_of(shown)) or "no names"
    subject, issuer = shown.subject.rfc4514_string() or "-", shown.issuer.rfc4514_string() or "-"
    until = shown.not_valid_after_utc
    return f"subject {subject}, issuer {issuer}, for {names}, valid until {until:%Y-%m-%d %H:%M} UTC"


def _names_of(certificate: "x509.Certificate") -> Iterator[str]:
    from cryptography import x509

    try:
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for entry in named:
        yield str(entry.value)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
