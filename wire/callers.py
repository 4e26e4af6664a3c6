"""Who may call a server: the checks that all of our HTTP servers share.

A server on loopback is reached by every local user, who has no token, and by web pages in the owner's browser: those
name a foreign origin, or by DNS rebinding a foreign host.
"""

import base64
import hmac
import json
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
_CHALLENGE = b'Bearer realm="ratchet", Basic realm="ratchet"'


def foreign_header(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What names another machine in a request to a loopback server, for a message; "" when the request may pass."""
    for name, value in headers:
        if name.lower() in (b"host", b"origin") and not _is_loopback(name.lower(), value.decode("latin-1")):
            return f"{name.decode('latin-1')} {value.decode('latin-1')!r} is not this machine. Use http://127.0.0.1."
    return ""


def is_authorized(header: str, *, token: str) -> bool:
    """Whether an `Authorization` header carries the token: `Bearer <token>`, the password of `Basic`, as browsers send
    it, or the token alone, as MinIO may send it.

    Takes as long for a wrong token as for the right one. Without a token every caller may.
    """
    scheme, _, value = header.strip().partition(" ")
    said = {"bearer": value.strip(), "basic": _password_of(value)}.get(scheme.lower(), header.strip())
    return not token or hmac.compare_digest(said.encode(), token.encode())


class LoopbackOnly:
    """Answers 403 to what a web page could send through a person's browser."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        foreign = foreign_header(scope["headers"]) if scope["type"] in ("http", "websocket") else ""
        await (_refuse(scope, send, 403, foreign) if foreign else self.app(scope, receive, send))


class TokenOnly:
    """Answers 401 to requests without the token, but for `open_paths`. The challenge lets a person log in by any name
    and the token as password."""

    def __init__(self, app: ASGIApp, *, token: str, open_paths: Collection[str], advice: str) -> None:
        self.app = app
        self._token, self._open_paths, self._advice = token, open_paths, advice

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] not in ("http", "websocket") or scope["path"] in self._open_paths
        header = b"" if is_open else dict(scope["headers"]).get(b"authorization", b"")
        if is_open or is_authorized(header.decode("latin-1"), token=self._token):
            await self.app(scope, receive, send)
        else:
            await _refuse(scope, send, 401, self._advice)


def _is_loopback(name: bytes, value: str) -> bool:
    try:
        return urlsplit(value if name == b"origin" else f"//{value}").hostname in _LOOPBACK
    except ValueError:  # "[", and other addresses that are none
        return False


def _password_of(basic: str) -> str:
    try:
        return base64.b64decode(basic, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"error_code": "UNAUTHENTICATED" if status == 401 else "PERMISSION_DENIED", "message": text,
                       "detail": text}).encode()  # fmt: skip
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    challenge = [(b"www-authenticate", _CHALLENGE)] if status == 401 else []
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *challenge]})
    await send({"type": "http.response.body", "body": body})
