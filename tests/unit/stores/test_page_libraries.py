"""The drawing library of a page is kept once, and taken for no other."""

import pytest

from ratchet.core.errors import NotFound
from ratchet.core.pages import cut_libraries, render_folded, sha256_of
from ratchet.stores.page_libraries import PageLibraries
from tests.fakes.object_store import FakeObjectStore
from tests.unit.core.test_pages import LIBRARY, document_of


def test_the_library_is_stored_once_and_is_in_no_page():
    objects = FakeObjectStore()
    pages = []
    for number in range(3):
        cut = cut_libraries(f"<html><head></head><body>{number}<script>{LIBRARY}</script></body></html>", [LIBRARY])
        PageLibraries(objects, "ratchet").put(cut.libraries)
        pages.append(render_folded(cut, title="drawn"))
    assert list(objects.list_uris("s3://ratchet/")) == [PageLibraries(objects, "ratchet").uri_of(sha256_of(LIBRARY))]
    assert max(map(len, pages)) < len(LIBRARY) / 10
    assert [LIBRARY in document_of(PageLibraries(objects, "ratchet").make_whole(page)) for page in pages] == [True] * 3


def test_a_library_that_was_changed_is_refused():
    objects = FakeObjectStore()
    cut = cut_libraries(f"<script>{LIBRARY}</script>", [LIBRARY])
    page = render_folded(cut, title="drawn")
    with pytest.raises(NotFound):
        PageLibraries(objects, "ratchet").make_whole(page)
    objects.put(PageLibraries(objects, "ratchet").uri_of(sha256_of(LIBRARY)), b"alert(1)")
    with pytest.raises(NotFound, match="sha256"):
        PageLibraries(objects, "ratchet").make_whole(page)
