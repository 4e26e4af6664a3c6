"""Who said what of the examples that several labeled, as integers, and what the others say together. Pure.

Shape suffixes: N voices, U examples, C classes or tags.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from ratchet.core.labels.agreement import latest_opinions
from ratchet.core.labels.digests import id_digests
from ratchet.core.labels.label_values import codes_of, whole_column

OPINIONS_MAX = 100_000
"""Of examples with several voices; of more, whole examples are drawn by the digests of their ids."""
ACCEPTED = ""
"""The labeler of the accepted label, where it is a voice: no name of a labeler is empty."""
_UNKNOWN = -1


class Voices(NamedTuple):
    """One voice of each labeler on each example that has two voices or more."""

    ids: pa.Array
    """(U,) text, rising."""
    names: tuple[str, ...]
    """Of the labelers, rising."""
    examples_N: np.ndarray
    labelers_N: np.ndarray
    labels: pa.Array
    num_left_out: int
    """Opinions beyond `OPINIONS_MAX`."""

    @property
    def num_voices_U(self) -> np.ndarray:
        return np.bincount(self.examples_N, minlength=len(self.ids))

    @property
    def has_numbers(self) -> bool:
        return bool(pa.types.is_floating(self.labels.type))

    def numbers_N(self) -> np.ndarray:
        return np.asarray(self.labels.to_numpy(zero_copy_only=False))


def voices_of(said: pa.Table, known_N: pa.Array | None = None, *, opinions_max: int = OPINIONS_MAX) -> Voices:
    """A labeler's latest opinion on an example is his voice.

    said: the columns id, label, labeler, labeled_at, shard. known_N: (N,) the accepted label of each row's example, or
    null; it is one voice, of `ACCEPTED`.
    """
    codes_N = whole_column(said["id"]).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    is_shared_N = np.bincount(codes_N, minlength=1)[codes_N] > 1
    if known_N is not None:
        is_shared_N |= known_N.is_valid().to_numpy(zero_copy_only=False)
    shared = np.flatnonzero(is_shared_N)
    kept = _drawn(said["id"], shared, opinions_max)
    opinions = said.select(["id", "label", "labeler", "labeled_at", "shard"]).take(pa.array(kept))
    latest = latest_opinions(opinions)
    voices = opinions.select(["id", "label", "labeler"]).take(pa.array(latest))
    if known_N is not None:
        voices = pa.concat_tables([voices, _known_voices(voices, known_N.take(pa.array(kept[latest])))])
    num_voices = np.bincount(codes_of(voices["id"]), minlength=1)
    voices = voices.filter(pa.array(num_voices[codes_of(voices["id"])] > 1))
    return Voices(
        ids=_rising(voices["id"]),
        names=tuple(_rising(voices["labeler"]).to_pylist()),
        examples_N=codes_of(voices["id"]),
        labelers_N=codes_of(voices["labeler"]),
        labels=whole_column(voices["label"]),
        num_left_out=len(shared) - len(kept),
    )


def members_of(labels: pa.Array) -> tuple[tuple[str, ...], sparse.csr_array]:
    """The classes or tags in these labels, in order, and (N, C) 1.0 where a label is the class, or holds the tag."""
    if pa.types.is_list(labels.type):
        flat = pc.list_flatten(labels)
        rows = pc.list_parent_indices(labels).to_numpy(zero_copy_only=False)
    else:
        flat, rows = labels, np.arange(len(labels))
    names = tuple(_rising(flat).to_pylist())
    values = np.ones(len(flat))
    return names, sparse.csr_array((values, (rows, codes_of(flat))), shape=(len(labels), len(names)))


def consensus_of_others(voices: Voices) -> np.ndarray:
    """(N,) for each voice the place of a voice with the label that more of the others on its example say than any other
    label; -1 where two labels have equally many. Tags are compared as sets."""
    labels_N = codes_of(voices.labels)
    width = int(labels_N.max(initial=0)) + 1
    keys, first_K, key_N, votes_K = np.unique(
        voices.examples_N * width + labels_N, return_index=True, return_inverse=True, return_counts=True
    )
    key_N = key_N.reshape(-1)
    example_K = keys // width
    order = np.lexsort((-votes_K, example_K))
    place_K = np.empty(len(keys), dtype=np.int64)
    place_K[order] = np.arange(len(keys)) - np.searchsorted(example_K, example_K)
    # The third says whether the first two, one voice less, are still ahead of the rest.
    top_U3 = np.full((len(voices.ids), 3), _UNKNOWN, dtype=np.int64)
    is_top_K = place_K < 3
    top_U3[example_K[is_top_K], place_K[is_top_K]] = np.flatnonzero(is_top_K)
    top_N3 = top_U3[voices.examples_N]
    votes_N3 = np.where(top_N3 == _UNKNOWN, 0, votes_K[top_N3]) - (top_N3 == key_N[:, None])
    most_N = votes_N3.max(axis=1, initial=0)
    best_N = top_N3[np.arange(len(top_N3)), votes_N3.argmax(axis=1)] if len(top_N3) else top_N3[:, 0]
    is_one_N = (votes_N3 == most_N[:, None]).sum(axis=1) == 1
    return np.where(is_one_N & (most_N > 0), first_K[best_N] if len(first_K) else best_N, _UNKNOWN)


def median_of_others(voices: Voices) -> np.ndarray:
    """(N,) for each voice the median of the numbers that the others on its example say."""
    values_N = voices.numbers_N()
    order = np.lexsort((values_N, voices.examples_N))
    sorted_N, examples_N = values_N[order], voices.examples_N[order]
    start_N = np.searchsorted(examples_N, examples_N)
    place_N = np.arange(len(order)) - start_N
    num_others_N = voices.num_voices_U[examples_N] - 1

    def others_at(which_N: np.ndarray) -> np.ndarray:
        return np.asarray(sorted_N[start_N + which_N + (which_N >= place_N)])

    low_N, high_N = others_at((num_others_N - 1) // 2), others_at(num_others_N // 2)
    medians_N = np.empty(len(order))
    medians_N[order] = np.where(low_N == high_N, low_N, low_N / 2 + high_N / 2)
    return medians_N


def _drawn(ids: pa.ChunkedArray, rows_n: np.ndarray, num: int) -> np.ndarray:
    """Whole examples with about so many of the rows, in the order of the rows."""
    if len(rows_n) <= num:
        return rows_n
    digests_n = id_digests(ids.take(pa.array(rows_n)))
    last = np.sort(digests_n)[num - 1]
    return np.asarray(rows_n[digests_n <= last])


def _known_voices(voices: pa.Table, known: pa.Array) -> pa.Table:
    _, first = np.unique(codes_of(voices["id"]), return_index=True)
    is_known = known.is_valid().to_numpy(zero_copy_only=False)[first]
    rows = pa.array(first[is_known])
    labeler = pa.array([ACCEPTED], pa.string()).take(pa.array(np.zeros(len(rows), dtype=np.int8)))
    return pa.table([voices["id"].take(rows), known.take(rows), labeler], schema=voices.schema)


def _rising(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    values = pc.unique(whole_column(column))
    return values.take(pc.sort_indices(values))
