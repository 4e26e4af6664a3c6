"""Accepted labels that later opinions put right: who is believed, and how rows of older shards get the new label. Pure.

A correction is an overlay: a small table of ids and labels beside the shards, of which the newest entry of an id
counts. It costs what it touches and moves no example, since the split follows from the id.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.agreement import Settled, latest_opinions, num_labels_of, settle_by_weight, settle_labels
from ratchet.core.labels.consensus import weigh_voices
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.schema import ExampleSchema, NumberOutput, OutputSpec

_VOICES_MIN = 2
"""Labelers who say the same against the known label. One who differs is evidence about that labeler as well."""


class Corrections(NamedTuple):
    """Accepted labels that are put right, in the order of ids."""

    rows: np.ndarray
    """Of the batch: the opinions that do it."""
    labels: pa.Array
    repeating: np.ndarray
    """Rows of single words that repeat the accepted label: what was said before them changes it no more."""


def corrections_of(
    incoming: pa.Table,
    output: OutputSpec,
    *,
    reviewers: Collection[str],
    overlay: pa.Table | None = None,
    by_weight: bool = False,
) -> Corrections:
    """The opinions of a batch that put known labels right, in the order of ids. Rows are those of `incoming`.

    The newest word of a reviewer, or of an opinion that says it corrects, stands. Without one, the label that at least
    two labelers say and that has more voices than every other, the known label being one voice (by_weight: more weight,
    by how far labelers agree with each other); numbers are corrected by single words alone. What was said before the
    correction that stands already (`overlay`: id, labeled_at) changes nothing, however late it arrives.
    """
    is_known_N = pc.is_valid(incoming["known_label"]).to_numpy(zero_copy_only=False)
    # What labelers say of new examples tells how far they agree with each other.
    rows = np.arange(len(is_known_N)) if by_weight else np.flatnonzero(is_known_N)
    opinions = incoming.select(["id", "label", "labeler", "labeled_at", "shard", "known_label", "corrects"])
    rows = rows[~_is_outdated(opinions.take(pa.array(rows)), overlay)]
    said = opinions.take(pa.array(rows))
    ids_n = codes_of(said["id"])
    chosen = _newest(said, ids_n, np.flatnonzero(is_word(said, reviewers) & is_known_N[rows]))
    if not isinstance(output, NumberOutput):
        latest_n = latest_opinions(said)
        others_n = latest_n[~np.isin(ids_n[latest_n], ids_n[chosen])]
        outvoting = _outweighing(said, ids_n, others_n, output) if by_weight else _outvoting(said, ids_n, others_n)
        chosen = np.concatenate([chosen, outvoting])
    chosen = chosen[np.argsort(ids_n[chosen], kind="stable")]
    picked = said.take(pa.array(chosen))
    codes = codes_of(pa.concat_arrays([whole_column(picked["label"]), whole_column(picked["known_label"])]))
    differs = codes[: len(chosen)] != codes[len(chosen) :]
    labels = whole_column(picked["label"]).filter(pa.array(differs))
    return Corrections(rows[chosen[differs]], labels, rows[chosen[~differs]])


def is_word(said: pa.Table, reviewers: Collection[str]) -> np.ndarray:
    """(N,) which opinions put a label right alone: those of reviewers, and those that say that they correct."""
    is_reviewers = pc.is_in(said["labeler"], value_set=pa.array(sorted(reviewers), pa.string()))
    return np.asarray(pc.or_(is_reviewers, said["corrects"].fill_null(False)).to_numpy(zero_copy_only=False))


def settle_new(said: pa.Table, output: OutputSpec, *, reviewers: Collection[str], by_weight: bool = False) -> Settled:
    """The label of each example that no version holds yet, in the order of ids: the newest word of a reviewer or of
    an opinion that corrects, as if the other opinions had been taken in before; without one the majority's (by_weight:
    `settle_by_weight`) or the median, ties left out."""
    settle = settle_by_weight if by_weight else settle_labels
    words = np.flatnonzero(is_word(said, reviewers))
    if not len(words):
        return settle(said, output)
    ids_N = codes_of(said["id"])
    words = _newest(said, ids_N, words)
    others = np.flatnonzero(~np.isin(ids_N, ids_N[words]))
    settled = settle(said.take(pa.array(others)), output)
    rows = np.concatenate([words, others[settled.rows]])
    labels = pa.concat_arrays([whole_column(said["label"]).take(pa.array(words)), settled.labels])
    order = np.argsort(ids_N[rows], kind="stable")
    return Settled(rows[order], labels.take(pa.array(order)))


def _is_outdated(said: pa.Table, overlay: pa.Table | None) -> np.ndarray:
    """(N,) which opinions are older than the correction of their example that stands."""
    if overlay is None or not said.num_rows:
        return np.zeros(said.num_rows, dtype=bool)
    places = pc.index_in(whole_column(said["id"]), value_set=whole_column(overlay["id"]))
    stands = whole_column(overlay["labeled_at"]).cast(said.schema.field("labeled_at").type).take(places)
    is_older = pc.less(whole_column(said["labeled_at"]), stands).fill_null(False)
    return np.asarray(is_older.to_numpy(zero_copy_only=False))


def _newest(said: pa.Table, ids_n: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of each example the row that was labelled last; of two at one time that of the later shard."""
    at = whole_column(said["labeled_at"]).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    order = rows[np.lexsort((codes_of(said["shard"])[rows], at[rows], ids_n[rows]))]
    # Cut, for without any row one True would be left.
    is_last = np.append(ids_n[order][1:] != ids_n[order][:-1], True)[: len(order)]
    return order[is_last]


def _outvoting(said: pa.Table, ids_n: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of each example one row of the label that wins against the known one."""
    whole = pa.concat_arrays([whole_column(said["label"]), whole_column(said["known_label"])])
    codes = codes_of(whole)
    labels_n, known_n = codes[: len(ids_n)][rows], codes[len(ids_n) :][rows]
    width = int(codes.max(initial=0)) + 1
    keys, first, votes = np.unique(ids_n[rows] * width + labels_n, return_index=True, return_counts=True)
    if not len(keys):
        return np.zeros(0, dtype=np.int64)
    is_known = labels_n[first] == known_n[first]
    votes = votes + is_known
    groups, group_of = np.unique(keys // width, return_inverse=True)
    order = np.lexsort((votes, group_of))
    last = np.searchsorted(group_of[order], np.arange(len(groups)), side="right") - 1
    has_second = np.bincount(group_of, minlength=len(groups)) > 1
    best, second = votes[order][last], np.where(has_second, votes[order][last - 1], 0)
    # The known label is a voice also where no opinion of this batch repeats it.
    rivals = np.maximum(second, 1)[group_of]
    wins = (votes == best[group_of]) & (votes > rivals) & (votes >= _VOICES_MIN) & ~is_known
    return rows[first[wins]]


def _outweighing(said: pa.Table, ids_n: np.ndarray, rows: np.ndarray, output: OutputSpec) -> np.ndarray:
    """Of each known example one row of the label that weighs more than each other one, the known label being a
    voice as reliable as the best labeler; two labelers or more must say it."""
    _, first_u, examples_n = np.unique(ids_n[rows], return_index=True, return_inverse=True)
    known_u = whole_column(said["known_label"]).take(pa.array(rows[first_u]))
    known = np.flatnonzero(known_u.is_valid().to_numpy(zero_copy_only=False))
    if not len(known):
        return np.zeros(0, dtype=np.int64)
    own = whole_column(said["label"]).take(pa.array(rows))
    codes = codes_of(pa.concat_arrays([own, known_u.take(pa.array(known))]))
    labelers_n = codes_of(said["labeler"].take(pa.array(rows)))
    found = weigh_voices(
        np.concatenate([examples_n, known]),
        np.concatenate([labelers_n, np.full(len(known), labelers_n.max() + 1)]),
        codes,
        num_classes=num_labels_of(output, codes),
        is_measured_N=np.arange(len(codes)) < len(rows),
        unmeasured_as="best",
    )
    codes_u = np.full(len(first_u), -1)
    codes_u[known] = codes[len(rows) :]
    labels_n, stands_n = codes[: len(rows)], codes_u[examples_n]
    says_n = (labels_n == found.labels_U[examples_n]) & (labels_n != stands_n) & (stands_n >= 0)
    num_u = np.bincount(examples_n, weights=says_n, minlength=len(first_u))
    wins = np.flatnonzero(says_n & (num_u >= _VOICES_MIN)[examples_n] & ~found.is_tied_U[examples_n])
    return rows[wins[np.unique(examples_n[wins], return_index=True)[1]]]


def words_among(said: pa.Table, settled: Settled, *, reviewers: Collection[str]) -> np.ndarray:
    """Which rows of `settled` are single words that stand over other opinions of the same batch, or repeat them."""
    rows = settled.rows[is_word(said.take(pa.array(settled.rows)), reviewers)]
    if not len(rows):
        return rows
    places = pc.index_in(said["id"], value_set=whole_column(said["id"].take(pa.array(rows))))
    num = np.bincount(places.drop_null().to_numpy(), minlength=len(rows))
    return np.asarray(rows[num > 1])


def overlay_of(
    incoming: pa.Table, corrections: Corrections, schema: ExampleSchema, *, words: Sequence[int] | np.ndarray = ()
) -> pa.Table:
    """The columns of an overlay: id, label, labeler, labeled_at. words: rows beside the corrections that stand."""
    others = np.concatenate([corrections.repeating, np.asarray(words, dtype=np.int64)])
    said = incoming.select(["id", "label", "labeler", "labeled_at"])
    rows = said.take(pa.array(np.concatenate([corrections.rows, others])))
    labels = pa.concat_arrays([corrections.labels, whole_column(said["label"]).take(pa.array(others))])
    return rows.set_column(1, pa.field("label", schema.label_type), labels)


def joined_overlays(overlays: Sequence[pa.Table]) -> pa.Table | None:
    """Overlays, the newest first, as one with each id once; None without any."""
    if not overlays:
        return None
    whole = pa.concat_tables(overlays)
    _, first = np.unique(codes_of(whole["id"]), return_index=True)
    return whole.take(pa.array(np.sort(first)))


def corrected(rows: pa.Table, overlay: pa.Table | None) -> pa.Table:
    """Rows of a shard, with what the overlay says of them: label, and by whom and when where the rows have it."""
    if overlay is None or not rows.num_rows:
        return rows
    places = pc.index_in(rows["id"], value_set=overlay["id"])
    if places.null_count == len(places):
        return rows
    is_there = pc.is_valid(places)
    for name in ("label", "labeler", "labeled_at"):
        if name in rows.column_names:
            kind = rows.schema.field(name)
            newer = overlay[name].cast(kind.type).take(places)
            mixed = _either(is_there, newer, rows[name])
            rows = rows.set_column(rows.schema.get_field_index(name), kind, mixed)
    return rows


def _either(is_there: pa.ChunkedArray, newer: pa.ChunkedArray, older: pa.ChunkedArray) -> pa.Array:
    """As `pc.if_else`, which has no lists."""
    both = pa.concat_arrays([whole_column(older), whole_column(newer)])
    picks = np.arange(len(older)) + len(older) * whole_column(is_there).to_numpy(zero_copy_only=False)
    return both.take(pa.array(picks))
