"""The drawing libraries of pages: `s3://ratchet/libraries/<sha256>`, each stored once, never written over."""

from collections.abc import Mapping
from typing import ClassVar

from ratchet.core.errors import Conflict, NotFound
from ratchet.core.layouts import Layout
from ratchet.core.pages import libraries_of, sha256_of, unfold_page
from ratchet.stores.layout import Store


class PageLibraries(Store):
    """The libraries of every page that any run drew."""

    layout: ClassVar[Layout] = "libraries"

    def uri_of(self, sha256: str) -> str:
        return self._uri(sha256)

    def put(self, libraries: Mapping[str, str]) -> None:
        """Before the page that needs them is written: a page that is there can be made whole."""
        for sha256, text in libraries.items():
            uri = self.uri_of(sha256)
            if self.objects.exists(uri):
                continue
            try:
                self.objects.put_if_absent(uri, text.encode())
            except Conflict:
                continue  # another step stored the same text meanwhile

    def make_whole(self, page: str) -> str:
        """The page with its libraries in it. NotFound names one that is gone, or is not the text that the page was made
        with."""
        libraries = {}
        for sha256 in sorted(libraries_of(page)):
            uri = self.uri_of(sha256)
            text = self.objects.fetch(uri).decode(errors="replace")
            if sha256_of(text) != sha256:
                raise NotFound(
                    f"{uri} does not have the sha256 of its name. Delete it; the next drift report stores it again."
                )
            libraries[sha256] = text
        return unfold_page(page, libraries)
