"""The pictures of a request: `{"b64": "…"}`, the file itself in a binary tensor, or an `s3://` URI of a bucket that the
server may read."""

import base64
import binascii
from collections.abc import Callable, Collection
from typing import Any

from ratchet.core.errors import DataRejected, RatchetError
from ratchet.core.labels.images import FILE_BYTES_MAX, decode_image
from ratchet.core.labels.schema import ImageInput
from ratchet.core.ports import ObjectStore
from ratchet.core.uris import parse_s3_uri
from wire.printable import listed, printable
from wire.validation_text import found_text

PIXEL_BYTES_MAX = 256 << 20
"""Of all pictures of one request, as the model takes them."""
# base64 writes 4 characters for each 3 bytes, the last ones filled up.
_B64_CHARS_MAX = FILE_BYTES_MAX // 3 * 4 + 4
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
"""How a PNG, a JPEG and a WebP begin; no base64 text and no URI does."""
_SCHEME = "s3://"

Fetch = Callable[[str], bytes]
"""The object of a URI. ValueError: it may not, or cannot, be read, and why; it reads FILE_BYTES_MAX at most."""


def fetch_from(
    objects: ObjectStore, buckets: Collection[str], *, faults: tuple[type[RatchetError], ...] = (RatchetError,)
) -> Fetch:
    """From these buckets alone; the size is looked at before anything is fetched. faults: what becomes the ValueError
    of a picture; any other error is raised as it is."""

    def fetch(uri: str) -> bytes:
        try:
            bucket, _ = parse_s3_uri(uri)
            if bucket not in buckets:
                raise ValueError(f"{_shown(uri)}: images may be in {listed(sorted(buckets))}")
            found = next(iter(objects.list_objects(uri)), None)
            if found is None or found.uri != uri:
                raise ValueError(f"{_shown(uri)} does not exist")
            if found.size_bytes > FILE_BYTES_MAX:
                raise ValueError(f"{_shown(uri)} has {found.size_bytes:,} bytes; the limit is {FILE_BYTES_MAX:,}")
            return objects.fetch(uri)
        except faults as error:
            raise ValueError(f"{_shown(uri)} cannot be fetched: {printable(str(error))}") from None

    return fetch


def _shown(uri: str) -> str:
    return printable(uri, chars_max=120)


class RequestImages:
    """Reads the pictures of requests. fetch: None where the server has no object store."""

    def __init__(self, fetch: Fetch | None = None) -> None:
        self._fetch = fetch

    def check_size(self, num_images: int, declared: ImageInput) -> None:
        """DataRejected when so many would not fit into memory; called before any is read."""
        if num_images * declared.num_bytes > PIXEL_BYTES_MAX:
            most = PIXEL_BYTES_MAX // declared.num_bytes
            raise DataRejected(
                f"{declared.name}: {num_images} images of {declared.width} x {declared.height} pixels in one request; "
                f"1 to {most} are allowed."
            )

    def pixels_of(self, value: Any, declared: ImageInput) -> bytes:
        """value: an object, a text, or what a binary tensor holds. ValueError says what is wrong."""
        return decode_image(self._file_of(value), declared)

    def _file_of(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            if value.startswith(_MAGIC):
                return value
            value = value.decode("ascii", errors="replace")
        if isinstance(value, dict):
            text = value.get("b64")
            if len(value) != 1 or not isinstance(text, str):
                raise ValueError('an image must be {"b64": "…"} or an s3:// URI, found another object')
            return _from_base64(text)
        if value.startswith(_SCHEME):
            if self._fetch is None:
                raise ValueError("this server may read no bucket (RATCHET_IMAGE_BUCKETS names none); send it as base64")
            return self._fetch(value)
        if "://" in value[:20]:
            found = found_text(value)
            raise ValueError(f'an image must be {{"b64": "…"}} or an s3:// URI, found {found}')
        return _from_base64(value)


def _from_base64(text: str) -> bytes:
    if len(text) > _B64_CHARS_MAX:
        raise ValueError(f"the base64 text has {len(text):,} characters; the limit is {_B64_CHARS_MAX:,}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"b64 must be base64 text, found {found_text(text)}") from None
