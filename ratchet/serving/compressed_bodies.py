"""Requests whose body is compressed, as `Content-Encoding` says: `gzip` and `deflate`, within the limit of a body.

A few kilobytes may stand for gigabytes, so no more is unpacked than a plain body may have.
"""

import asyncio
import zlib
from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ratchet.core.errors import DataRejected
from ratchet.serving.request_body import read_body, receive_again

ENCODING = b"content-encoding"
_WBITS: Mapping[str, int] = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
_REPLACED = frozenset({ENCODING, b"content-length", b"transfer-encoding"})


class BodyTooLarge(DataRejected):
    """Unpacked it has more bytes than a body may have."""


def unpacked(body: bytes, *, wbits: int, bytes_max: int) -> bytes:
    """All members of the stream, one after another. DataRejected: it is cut off or damaged. Pure."""
    parts: list[bytes] = []
    left = bytes_max
    while body or not parts:
        stream = zlib.decompressobj(wbits)
        try:
            part = stream.decompress(body, left + 1)
        except zlib.error as error:
            raise DataRejected(f"the body cannot be decompressed: {error}") from None
        if len(part) > left:
            raise BodyTooLarge(f"the decompressed body has more than {bytes_max:,} bytes, which is the limit")
        if not stream.eof:
            raise DataRejected("the compressed body ends too early")
        parts.append(part)
        left -= len(part)
        body = stream.unused_data
    return b"".join(parts)


class CompressedBodies:
    """ASGI middleware: the application behind it reads plain bodies only."""

    def __init__(self, app: ASGIApp, *, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        encoding = _encoding_of(scope) if scope["type"] == "http" else "identity"
        if encoding == "identity":
            await self._app(scope, receive, send)
            return
        if encoding not in _WBITS:
            told = f"Content-Encoding {encoding[:40]!r} is not supported; send gzip, deflate or no encoding."
            await JSONResponse({"error": told}, 415)(scope, receive, send)
            return
        body = await read_body(receive)
        if body is None:
            return
        try:
            # Megabytes take a while, and health checks share the event loop.
            plain = await asyncio.to_thread(unpacked, body, wbits=_WBITS[encoding], bytes_max=self._bytes_max)
        except DataRejected as error:
            status = 413 if isinstance(error, BodyTooLarge) else 400
            await JSONResponse({"error": f"{error}."}, status)(scope, receive, send)
            return
        headers = [pair for pair in scope["headers"] if pair[0] not in _REPLACED]
        headers.append((b"content-length", str(len(plain)).encode()))
        await self._app({**scope, "headers": headers}, receive_again(plain, receive), send)


def _encoding_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == ENCODING:
            return str(value.decode("latin-1").strip().lower()) or "identity"
    return "identity"
