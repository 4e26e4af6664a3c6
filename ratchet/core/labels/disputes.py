"""Opinions that contradict an accepted label: who is right, by consensus (`consensus.weigh_voices`). Pure.

Who corrects says something only where he differs. So his agreement with accepted labels, which is 0, tells nothing of
how reliable he is, and neither does the agreement of these labels with him: both are weighed by what labelers say among
themselves. With one voice on each side it is the classifier that decides; where it was not asked, nobody can tell.

Shape suffixes: N voices, U examples, D disputes: opinions on accepted examples with another label.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtri

from ratchet.core.labels.agreement import num_labels_of
from ratchet.core.labels.consensus import SAME_WITHIN, Classified, Consensus, weigh_voices
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.reliability.voices import ACCEPTED, Voices
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec

RIGHT, UNTOLD, WRONG = 1, 0, -1
"""Of an opinion against the accepted label."""


class AskedExamples(NamedTuple):
    """What a classifier answers about accepted examples, none of which it has learned."""

    ids: pa.Array
    """(A,) text."""
    classes: tuple[str, ...]
    probabilities_AC: np.ndarray


class Disputes(NamedTuple):
    """Who contradicts which accepted labels, and with what right."""

    ids: pa.Array
    """(D,) text."""
    labelers: tuple[str, ...]
    labels: pa.Array
    accepted: pa.Array
    sides_D: np.ndarray
    """`RIGHT`, `WRONG`, or `UNTOLD` where nobody can tell."""

    def num(self, side: int) -> int:
        return int((self.sides_D == side).sum())

    def doubted(self, confidence: float) -> frozenset[str]:
        """Labelers who are wrong more often than right where they contradict accepted labels, beyond chance: one-sided,
        by the normal approximation of the sign test."""
        names, which_D = np.unique(np.array(self.labelers, dtype=object), return_inverse=True)
        balance_L = np.bincount(which_D, weights=self.sides_D, minlength=len(names))
        num_L = np.bincount(which_D, weights=np.abs(self.sides_D), minlength=len(names))
        return frozenset(names[-balance_L > float(ndtri(confidence)) * np.sqrt(num_L)].tolist())

    def known_beyond(self, said: pa.Table, known_N: pa.Array, *, confidence: float) -> pa.Array:
        """(N,) the accepted labels that are evidence about who contradicts them; null for the others.

        An accepted label is none when consensus says that it is wrong, when nobody can tell, and when a labeler who is
        not `doubted` contradicts it: who corrects hard examples errs on some of them too.
        said: the columns id, label, labeler. known_N: (N,) the accepted label of the row's example, or null.
        """
        labels, ids = whole_column(said["label"]), whole_column(said["id"])
        codes = codes_of(pa.concat_arrays([labels, known_N]))
        differs_N = (codes[: len(known_N)] != codes[len(known_N) :]) & _flags(known_N.is_valid())
        differs_N &= ~_flags(
            pc.is_in(said["labeler"], value_set=pa.array(sorted(self.doubted(confidence)), pa.string()))
        )
        aside = pa.concat_arrays([self.ids.filter(pa.array(self.sides_D != WRONG)), ids.filter(pa.array(differs_N))])
        is_aside_N = _flags(pc.is_in(ids, value_set=aside))
        return known_N.take(pa.array(np.arange(len(known_N)), mask=is_aside_N))


def find_disputes(voices: Voices, output: OutputSpec, answered: AskedExamples | None) -> Disputes:
    """Every voice that contradicts the accepted label of its example. Numbers do not contradict each other."""
    is_accepted_N = np.asarray([name == ACCEPTED for name in voices.names], dtype=bool)[voices.labelers_N]
    if isinstance(output, NumberOutput) or not is_accepted_N.any():
        return _disputes(voices, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int8))
    labels_N, num_classes = _codes(voices.labels, output, answered)
    classified = _classified(voices, answered)
    weighed = weigh_voices(
        voices.examples_N,
        voices.labelers_N,
        labels_N,
        num_classes=num_classes,
        is_measured_N=~is_accepted_N,
        classified=classified,
    )
    accepted_U = np.full(len(voices.ids), -1)
    accepted_U[voices.examples_N[is_accepted_N]] = np.flatnonzero(is_accepted_N)
    place_N = accepted_U[voices.examples_N]
    against = np.flatnonzero((place_N >= 0) & (labels_N != labels_N[place_N]))
    accepted = place_N[against]
    return _disputes(voices, against, accepted, _sides(voices, labels_N, weighed, against, accepted, classified))


def _sides(
    voices: Voices,
    labels_N: np.ndarray,
    weighed: Consensus,
    against: np.ndarray,
    accepted: np.ndarray,
    classified: Classified | None,
) -> np.ndarray:
    gap_D = weighed.probability_N[against] - weighed.probability_N[accepted]
    examples_D = voices.examples_N[against]
    can_tell_D = voices.num_voices_U[examples_D] > 2
    if classified is not None:
        # Of a class that it has not learned it says 0, which is no evidence.
        num_classes = classified.probabilities_AC.shape[1]
        is_learned_D = np.maximum(labels_N[against], labels_N[accepted]) < num_classes
        can_tell_D |= is_learned_D & np.isin(examples_D, classified.examples_A)
    return np.where(can_tell_D & (np.abs(gap_D) > SAME_WITHIN), np.sign(gap_D), UNTOLD).astype(np.int8)


def _codes(labels: pa.Array, output: OutputSpec, answered: AskedExamples | None) -> tuple[np.ndarray, int]:
    """Codes of the labels, the classifier's classes first, and how many labels there can be."""
    if not isinstance(output, CategoryOutput):
        codes_N = codes_of(labels)
        return codes_N, num_labels_of(output, codes_N)
    known = answered.classes if answered else ()
    others = [name for name in pc.unique(labels).to_pylist() if name not in set(known)]
    names = pa.array([*known, *others], pa.string())
    return np.asarray(pc.index_in(labels, value_set=names)).astype(np.int64), len(output.classes)


def _classified(voices: Voices, answered: AskedExamples | None) -> Classified | None:
    if answered is None:
        return None
    places = pc.index_in(voices.ids, value_set=answered.ids)
    asked = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
    return Classified(asked, answered.probabilities_AC[places.drop_null().to_numpy()])


def _flags(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False)).astype(bool)


def _disputes(voices: Voices, against: np.ndarray, accepted: np.ndarray, sides_D: np.ndarray) -> Disputes:
    return Disputes(
        ids=voices.ids.take(pa.array(voices.examples_N[against])),
        labelers=tuple(voices.names[number] for number in voices.labelers_N[against].tolist()),
        labels=voices.labels.take(pa.array(against)),
        accepted=voices.labels.take(pa.array(accepted)),
        sides_D=sides_D,
    )
