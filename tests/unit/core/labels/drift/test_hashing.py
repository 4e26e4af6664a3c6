"""Hashes of ids: the same whatever the array looks like in memory."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.drift.hashing import hashes_of

TEXTS = st.lists(st.text(max_size=8), max_size=8)


@given(TEXTS, TEXTS)
def test_a_hash_is_that_of_the_text_alone(texts: list[str], before: list[str]) -> None:
    alone = [int(hashes_of(pa.array([text]))[0]) for text in texts]
    together = hashes_of(pa.chunked_array([pa.array(before, pa.string()), pa.array(texts, pa.string())]))
    sliced = hashes_of(pa.array([*before, *texts, "end"], pa.string()).slice(len(before), len(texts)))
    assert together[len(before) :].tolist() == alone == sliced.tolist()


@given(TEXTS)
def test_different_texts_have_different_hashes(texts: list[str]) -> None:
    assert len(set(hashes_of(pa.array(texts, pa.string())).tolist())) == len(set(texts))


def test_endings_of_zero_bytes_and_many_ids_are_told_apart() -> None:
    assert len(set(hashes_of(pa.array(["", "\0", "\0\0", "a", "a\0"])).tolist())) == 5
    hashes = hashes_of(pa.array([f"row-{number}" for number in range(100_000)]))
    assert len(set(hashes.tolist())) == 100_000
    assert abs(float((hashes < 2**63).mean()) - 0.5) < 0.01
