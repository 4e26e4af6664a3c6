"""The drawing libraries of pages: `s3://ratchet/libraries/<sha256>`, each stored once, never written over."""

from collections.abc import Mapping

from ratchet.core.errors import Conflict, NotFound
from ratchet.core.pages import libraries_of, sha256_of, unfold_page
from ratchet.core.ports import ObjectStore


def library_uri(sha256: str, *, bucket: str) -> str:
    return f"s3://{bucket}/libraries/{sha256}"


def store_libraries(objects: ObjectStore, libraries: Mapping[str, str], *, bucket: str) -> None:
    """Before the page that needs them is written: a page that is there can be made whole."""
    for sha256, text in libraries.items():
        uri = library_uri(sha256, bucket=bucket)
        if objects.exists(uri):
            continue
        try:
            objects.put_if_absent(uri, text.encode())
        except Conflict:
            continue  # another step stored the same text meanwhile


def fetch_whole_page(objects: ObjectStore, page: str, *, bucket: str) -> str:
    """The page with its libraries in it. NotFound names one that is gone, or is not the text that the page was made
    with."""
    libraries = {}
    for sha256 in sorted(libraries_of(page)):
        uri = library_uri(sha256, bucket=bucket)
        text = objects.fetch(uri).decode(errors="replace")
        if sha256_of(text) != sha256:
            raise NotFound(
                f"{uri} does not have the sha256 of its name. Delete it; the next drift report stores it again."
            )
        libraries[sha256] = text
    return unfold_page(page, libraries)
