"""Requests whose body is compressed, as `Content-Encoding` says: `gzip` and `deflate`, within the limit of a body.

A few kilobytes may stand for gigabytes, so no more is unpacked than a plain body may have.
"""

import asyncio
import zlib
from collections.abc import Mapping

from ratchet.core.errors import DataRejected

_WBITS: Mapping[str, int] = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}


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


class UnknownEncoding(DataRejected):
    """A `Content-Encoding` that this server does not read."""


async def plain_body(body: bytes, encoding: str, *, bytes_max: int) -> bytes:
    """What a body says without its Content-Encoding ("": none). UnknownEncoding, BodyTooLarge or DataRejected."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WBITS:
        raise UnknownEncoding(f"Content-Encoding {name[:40]!r} is not supported; send gzip, deflate or no encoding")
    # Megabytes take a while, and health checks share the event loop.
    return await asyncio.to_thread(unpacked, body, wbits=_WBITS[name], bytes_max=bytes_max)
