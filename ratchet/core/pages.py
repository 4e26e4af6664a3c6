"""Pages whose drawing library is kept once for all: cut it out, fold what is left, put it back. Pure.

A library is a text that every page of a tool has in it (a script, a font). In the page its place is marked by the
sha256 of the text. What needs it lies in the page compressed and inert, so that a browser shows the rest of the page.
"""

import base64
import hashlib
import lzma
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple

from ratchet.core.errors import DataRejected, NotFound

_FOLDED_TYPE = "application/x-ratchet-figures"
_FOLDED = re.compile(
    rf'<script type="{_FOLDED_TYPE}" data-title="([^"]*)" data-libraries="([0-9a-f ]*)">([^<]*)</script>'
)
_UNFOLDED_BYTES_MAX = 64 << 20
"""Evidently's largest page has 5 MB; a small file must not unfold to gigabytes."""
_NO_NETWORK = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:\">"
)
"""Evidently's library knows hosts on the internet (plotly's maps). The page may ask none."""


class CutPage(NamedTuple):
    document: str
    """With marks in place of the libraries."""
    libraries: Mapping[str, str]
    """The sha256 of each text that was cut out, and the text."""


def cut_libraries(document: str, shared: Iterable[str]) -> CutPage:
    """Cut out each of the shared texts that the document has."""
    found = {sha256_of(text): text for text in shared if text and text in document}
    for sha256, text in found.items():
        document = document.replace(text, _mark_of(sha256))
    return CutPage(document, found)


def render_folded(cut: CutPage, *, title: str) -> str:
    """The document as an inert part of another page; `unfold_page` shows it in a frame of that title."""
    packed = base64.b64encode(lzma.compress(cut.document.encode(), preset=6)).decode()
    libraries = " ".join(sorted(cut.libraries))
    head = f'<script type="{_FOLDED_TYPE}" data-title="{escape(title)}" data-libraries="{libraries}">'
    return f"{head}{packed}</script>"


def libraries_of(page: str) -> frozenset[str]:
    """The sha256 of every library that the page needs to be whole."""
    return frozenset(sha256 for _, libraries, _ in _FOLDED.findall(page) for sha256 in libraries.split())


def unfold_page(page: str, libraries: Mapping[str, str]) -> str:
    """The whole page, which needs no other file and no network. NotFound names a library that is not given."""

    def unfolded(match: re.Match[str]) -> str:
        title, needed, packed = match.groups()
        document = _unpack(packed)
        for sha256 in needed.split():
            if sha256 not in libraries:
                raise NotFound(f"The page needs the library {sha256}, which was not given.")
            document = document.replace(_mark_of(sha256), libraries[sha256])
        document = document.replace("<head>", f"<head>{_NO_NETWORK}", 1)
        return f'<iframe title="{title}" style="width:100%;height:100vh" srcdoc="{escape(document)}"></iframe>'

    return _FOLDED.sub(unfolded, page)


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _mark_of(sha256: str) -> str:
    return f"[[ratchet-library {sha256}]]"


def _unpack(packed: str) -> str:
    try:
        unpacker = lzma.LZMADecompressor()
        data = unpacker.decompress(base64.b64decode(packed, validate=True), max_length=_UNFOLDED_BYTES_MAX)
    except (ValueError, lzma.LZMAError) as error:
        raise DataRejected(
            f"The page's figures cannot be read: {error}. Was the file cut off? Fetch it again."
        ) from None
    if not unpacker.eof:
        raise DataRejected(
            f"The page's figures are cut off, or have over {_UNFOLDED_BYTES_MAX:,} bytes. Fetch it again."
        )
    return data.decode()
