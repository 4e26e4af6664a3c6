"""What a Kubernetes API server knows us by: a token, or a client certificate; asked for at each request."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from ratchet.core.errors import SettingsError

Token = Callable[[], str]
"""Asked at each request: on a cluster the token is renewed every hour."""


class Secret(NamedTuple):
    """Either may be "": then it is not shown."""

    authorization: str = ""
    """The header's value."""
    certificate: str = ""
    """Client certificate and its key, PEM."""

    def __repr__(self) -> str:
        return "Secret(…)"


class Credential(Protocol):
    def __call__(self, *, is_refused: bool = False) -> Secret:
        """`is_refused`: the server did not take the last one; another is fetched where one can be."""


def fixed(secret: Secret) -> Credential:
    def credential(*, is_refused: bool = False) -> Secret:
        return secret

    return credential


def bearer(token: Token) -> Credential:
    def credential(*, is_refused: bool = False) -> Secret:
        return Secret(authorization=f"Bearer {token()}")

    return credential


def from_file(path: Path, *, where: str, certificate: str = "") -> Credential:
    """A token that another program renews in its file."""

    def credential(*, is_refused: bool = False) -> Secret:
        try:
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{where}: `tokenFile` cannot be read: {error}.") from None
        if not token:
            raise SettingsError(f"{where}: `tokenFile` {path} is empty.")
        return Secret(authorization=f"Bearer {token}", certificate=certificate)

    return credential


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
