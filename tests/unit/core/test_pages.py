"""Pages whose drawing library is kept once."""

import re
from html import unescape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.core.labels.drift_picture import FeatureDraw, render_differences
from ratchet.core.pages import cut_libraries, libraries_of, render_folded, unfold_page

LIBRARY = "function draw() { return '</scri' + 'pt>' } // " + "x" * 10_000


def document_of(page: str) -> str:
    found = re.search(r'srcdoc="([^"]*)"', page)
    assert found
    return unescape(found[1])


@settings(max_examples=25)  # each packs and unpacks, 40 ms
@given(st.text(), st.text(min_size=50), st.text())
def test_a_page_is_made_whole_to_the_letter(before, library, after):
    document = f"<p>{before}</p><script>{library}</script>{after}".replace("\r", "")
    library = library.replace("\r", "")
    cut = cut_libraries(document, [library])
    page = f"<body>{render_folded(cut, title='drawn')}</body>"
    assert document_of(unfold_page(page, cut.libraries)) == document


def test_a_whole_page_may_ask_no_host():
    cut = cut_libraries("<html><head></head></html>", [])
    assert "default-src 'none'" in document_of(unfold_page(render_folded(cut, title="x"), {}))


def test_a_page_that_was_cut_off_is_rejected():
    page = render_folded(cut_libraries("<p>hello</p>" * 100, []), title="x")
    start = page.index(">") + 1
    with pytest.raises(DataRejected, match="cut off"):
        unfold_page(page[: start + 40] + "</script>", {})


def test_a_page_without_figures_stays_as_it_is():
    assert unfold_page("<p>plain</p>", {}) == "<p>plain</p>"
    assert libraries_of("<p>plain</p>") == frozenset()


@pytest.mark.parametrize(
    ("known", "new", "text"),
    [
        pytest.param([1.0, 2.0], [2.0, 4.0], "values from 1 to 4", id="numbers"),
        pytest.param([3.0, 3.0], [3.0], "values from 3 to 3", id="constant"),
        pytest.param([np.nan], [1.0], "no finite numbers", id="nothing-known"),
        pytest.param([1.0, np.nextafter(1, 2)], [1.0], "values from 1 to 1", id="the-narrowest"),
        pytest.param([-1e308, 1e308], [np.inf, 0.0], "values from", id="the-widest"),
    ],
)
def test_differences_are_drawn_without_scripts(known, new, text):
    feature = FeatureDraw("<b>", np.array(known), np.array(new))
    page = render_differences([feature], known_labels=["a"] * 3, new_labels=["a", "<i>"])
    assert text in page
    assert "<script" not in page and "<b>" not in page and "<i>" not in page
    assert "nan" not in page.split("<svg")[-1]
