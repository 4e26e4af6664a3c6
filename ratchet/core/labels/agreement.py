"""Do the labelers agree? One label for each example, and who disagrees with the others more than they do. Pure.

Opinions are a table: the columns id, label, labeler, labeled_at, shard. Shape suffixes: N opinions, G examples.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.consensus import weigh_voices
from ratchet.core.labels.excess import LabelerRecord, each_confidence, not_judged, record_of
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.pairs import Pairs
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec


class Settled(NamedTuple):
    """What stands for each example, in the order of their ids."""

    rows: np.ndarray
    """Of the opinions: the one that says it first."""
    labels: pa.Array


class Codes(NamedTuple):
    """The columns of opinions as integers in the order of their values, (N,) int64 each; `at` in microseconds."""

    ids: np.ndarray
    labelers: np.ndarray
    at: np.ndarray
    shards: np.ndarray

    @classmethod
    def of(cls, said: pa.Table) -> "Codes":
        at = whole_column(said["labeled_at"]).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        return cls(codes_of(said["id"]), codes_of(said["labeler"]), at, codes_of(said["shard"]))


def latest_opinions(said: pa.Table) -> np.ndarray:
    """Rows of one opinion of each labeler on each example: the latest; of two at one time, that of the later shard or
    line."""
    codes = Codes.of(said)
    return _latest(codes, np.arange(said.num_rows))


def _latest(codes: Codes, rows_n: np.ndarray) -> np.ndarray:
    ids, labelers = codes.ids[rows_n], codes.labelers[rows_n]
    order = np.lexsort((rows_n, codes.shards[rows_n], codes.at[rows_n], labelers, ids))
    is_last = np.ones(len(order), dtype=bool)
    is_last[:-1] = (ids[order][1:] != ids[order][:-1]) | (labelers[order][1:] != labelers[order][:-1])
    return np.sort(rows_n[order[is_last]])


def settle_labels(said: pa.Table, output: OutputSpec) -> Settled:
    """The label that stands for each example, and the first opinion that says it: the majority's, or of numbers the
    median. Ties are left out: nobody knows who is right."""
    codes = Codes.of(said)
    is_alone_N = np.bincount(codes.ids, minlength=1)[codes.ids] == 1
    disputed_n = _latest(codes, np.flatnonzero(~is_alone_N))
    labels = whole_column(said["label"])
    is_number = isinstance(output, NumberOutput)
    values_n = labels.take(pa.array(disputed_n))
    if is_number:
        standing_n, medians = _median(codes, disputed_n, values_n.to_numpy(zero_copy_only=False))
    else:
        standing_n, medians = _majority(codes, disputed_n, codes_of(values_n)), np.zeros(0)
    alone_N = np.flatnonzero(is_alone_N)
    rows = np.concatenate([alone_N, standing_n])
    order = np.argsort(codes.ids[rows], kind="stable")
    if not is_number:
        return Settled(rows[order], labels.take(pa.array(rows[order])))
    numbers = np.concatenate([labels.take(pa.array(alone_N)).to_numpy(zero_copy_only=False), medians])
    return Settled(rows[order], pa.array(numbers[order], pa.float64()))


def settle_by_weight(said: pa.Table, output: OutputSpec) -> Settled:
    """As `settle_labels`, but voices weigh by how far they agree with others (`consensus.weigh_voices`), so that two
    careless labelers do not outvote a careful one. Numbers settle on their median all the same."""
    if isinstance(output, NumberOutput):
        return settle_labels(said, output)
    codes, labels = Codes.of(said), whole_column(said["label"])
    rows_n = latest_opinions(said)
    ids_n, labels_n = codes.ids[rows_n], codes_of(labels.take(pa.array(rows_n)))
    found = weigh_voices(ids_n, codes.labelers[rows_n], labels_n, num_classes=num_labels_of(output, labels_n))
    chosen_n = (labels_n == found.labels_U[ids_n]) & ~found.is_tied_U[ids_n]
    rows = _first_by_age(codes, rows_n[chosen_n])
    return Settled(rows, labels.take(pa.array(rows)))


def num_labels_of(output: OutputSpec, codes_N: np.ndarray) -> int:
    """How many labels there can be; of tags, as many sets of them as are there."""
    return len(output.classes) if isinstance(output, CategoryOutput) else max(2, int(codes_N.max(initial=0)) + 1)


def _majority(codes: Codes, rows_n: np.ndarray, labels_n: np.ndarray) -> np.ndarray:
    """Of each example with one most frequent label, the row that says it first."""
    votes_n, ids_n = _votes(codes.ids[rows_n], labels_n), codes.ids[rows_n]
    best = np.zeros(int(ids_n.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(best, ids_n, votes_n)
    is_best_n = votes_n == best[ids_n]
    # One label is the most frequent when the voices for labels of that frequency are no more than it has.
    num_best = np.bincount(ids_n[is_best_n], minlength=len(best))
    chosen_n = is_best_n & (num_best[ids_n] == best[ids_n])
    return _first_by_age(codes, rows_n[chosen_n])


def _votes(ids_n: np.ndarray, labels_n: np.ndarray) -> np.ndarray:
    """How many voices each voice's label has on its example, its own counted."""
    width = int(labels_n.max(initial=0)) + 1
    # One whole number for each pair of example and label.
    _, which_n, counts = np.unique(ids_n * width + labels_n, return_inverse=True, return_counts=True)
    return np.asarray(counts[which_n])


def _median(codes: Codes, rows_n: np.ndarray, values_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each example, and the median of its numbers."""
    first = _first_by_age(codes, rows_n)
    ids_n = codes.ids[rows_n]
    order = np.lexsort((values_n, ids_n))
    starts = np.searchsorted(ids_n[order], codes.ids[first])
    num = np.searchsorted(ids_n[order], codes.ids[first], side="right") - starts
    low, high = values_n[order][starts + (num - 1) // 2], values_n[order][starts + num // 2]
    # Halves first: the sum of two floats may be no float.
    return first, np.where(low == high, low, low / 2 + high / 2)


def _first_by_age(codes: Codes, rows_n: np.ndarray) -> np.ndarray:
    order = np.lexsort((codes.labelers[rows_n], codes.shards[rows_n], codes.at[rows_n], codes.ids[rows_n]))
    _, first = np.unique(codes.ids[rows_n][order], return_index=True)
    return np.asarray(rows_n[order[first]])


def measure_agreement(
    said: pa.Table,
    known_N: pa.Array,
    *,
    output: OutputSpec,
    confidence: float,
    num_judged_min: int,
    noise_N: np.ndarray | None = None,
) -> tuple[LabelerRecord, ...]:
    """How each labeler disagrees with the others' labels of the same examples, in the order of their names.

    known_N: (N,) the label that the parent version knows of the example, or null. It is one voice, and so is each other
    labeler. With two or more of them on an example, what a labeler differs from them by is compared with what they
    differ by among themselves: the example is as hard for all. Against the known label alone it is compared with
    `noise_N` ((N,), 0..1, NaN: nothing known): how often accepted labels around the example differ. A labeler with too
    few of these is compared with several partners, where pairs of labelers share examples (`pairs`): two alone who
    differ do not tell who is wrong. The confidence holds for all labelers together. Labels of numbers agree within the
    output's tolerance; without one nobody is judged.
    """
    names = sorted(pc.unique(said["labeler"]).to_pylist())
    each = each_confidence(confidence, len(names))
    rows = latest_opinions(said)
    voices = said.select(["id", "label", "labeler"]).take(pa.array(rows))
    known = known_N.take(pa.array(rows))
    ids_n = codes_of(voices["id"])
    differs_n, expected_n = _differing(
        ids_n, whole_column(voices["label"]), known, output, None if noise_N is None else noise_N[rows]
    )
    labelers_n = codes_of(voices["labeler"])
    is_judged_n = ~np.isnan(expected_n)
    is_pair_n = (np.bincount(ids_n, minlength=1)[ids_n] == 2) & known.is_null().to_numpy(zero_copy_only=False)
    is_pair_n &= ~np.isnan(differs_n)
    pairs = Pairs(ids_n[is_pair_n], labelers_n[is_pair_n], differs_n[is_pair_n], num_labelers=len(names))
    found = []
    for number, name in enumerate(names):
        own = is_judged_n & (labelers_n == number)
        num = int(own.sum())
        if num >= num_judged_min:
            found.append(record_of(name, differs_n[own], expected_n[own], confidence=each, compared_with="others"))
            continue
        paired = pairs.record_of(number, name, num_judged_min=num_judged_min, confidence=each)
        found.append(paired or not_judged(name, num))
    return tuple(found)


def _differing(
    ids_n: np.ndarray, labels_n: pa.Array, known_n: pa.Array, output: OutputSpec, noise_n: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """What each voice differs from the others by, and what these differ by among themselves (0..1); NaN: unknown.

    With m others, D of whom a voice differs from, and P pairs of all m + 1 voices that differ, D / m and
    (P - D) / (m (m - 1) / 2).
    """
    num_groups = int(ids_n.max(initial=-1)) + 1
    has_known_n = known_n.is_valid().to_numpy(zero_copy_only=False)
    _, first_g = np.unique(ids_n, return_index=True)
    known_g = first_g[has_known_n[first_g]]
    all_ids = np.concatenate([ids_n, ids_n[known_g]])
    all_labels = pa.concat_arrays([labels_n, known_n.take(pa.array(known_g))])
    against = _num_against(all_ids, all_labels, output)
    if against is None:
        return np.full(len(ids_n), np.nan), np.full(len(ids_n), np.nan)
    others_n = (np.bincount(all_ids, minlength=num_groups)[ids_n] - 1).astype(np.float64)
    pairs_n = (np.bincount(all_ids, weights=against, minlength=num_groups) / 2)[ids_n]
    against_n = against[: len(ids_n)]
    # An example with one voice alone divides by 0; it becomes NaN below.
    with np.errstate(divide="ignore", invalid="ignore"):
        differs_n = against_n / others_n
        expected_n = (pairs_n - against_n) / (others_n * (others_n - 1) / 2)
    expected_n[others_n < 2] = np.nan
    if noise_n is not None:
        lone = (others_n == 1) & has_known_n
        expected_n[lone] = noise_n[lone]
    return differs_n, expected_n


def _num_against(ids: np.ndarray, labels: pa.Array, output: OutputSpec) -> np.ndarray | None:
    """How many voices on its example each voice differs from; None where labels neither agree nor differ."""
    if not isinstance(output, NumberOutput):
        return np.asarray(np.bincount(ids, minlength=1)[ids] - _votes(ids, codes_of(labels))).astype(np.float64)
    if output.tolerance is None:
        return None
    values = labels.to_numpy(zero_copy_only=False)
    order = np.lexsort((values, ids))
    starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
    stops = np.append(starts[1:], len(order))
    against = np.zeros(len(ids))
    for start, stop in zip(starts.tolist(), stops[: len(starts)].tolist(), strict=True):
        if stop - start == 1:
            continue
        rows = order[start:stop]
        own = values[rows]
        near = np.searchsorted(own, own + output.tolerance, side="right") - np.searchsorted(own, own - output.tolerance)
        against[rows] = len(rows) - near
    return against
