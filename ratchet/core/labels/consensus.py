"""What the voices on each example settle on, each weighed by how far it agrees with others: CROWDLAB. Pure.

Source: Goh, Tkachenko, Mueller, "CROWDLAB: Supervised learning to infer consensus labels and quality scores for data
with multiple annotators" (2022), eq. 3 to 7. The probability of class k, given the annotators J of an example, is
(w_M p_M(k) + sum_J w_j p_j(k)) / (w_M + sum_J w_j). p_M is that of a classifier that has not learned the example. p_j
is P for the class that j says and (1 - P) / (K - 1) for each other one, P being the share of voices that say what most
say. With E the error of always answering the most frequent class, w_j = 1 - e_j / E and w_M = (1 - e_M / E) sqrt(n), n
being the mean number of voices: e_j is how often other annotators differ from j, e_M how often the classifier differs
from what most say. All but n are taken of examples with two voices or more. The weights are those of cleanlab 2.9's
`get_label_quality_multiannotator`.

Shape suffixes: N voices, U examples, L labelers, K labels that are said of an example, or that the classifier likes
best there, A examples that the classifier was asked about, C classes that it knows.
"""

from typing import Literal, NamedTuple

import numpy as np

_WEIGHT_MIN = 1e-6
"""Of a voice that is no better than always answering the most frequent class; and the least E."""
SAME_WITHIN = 1e-9
"""Probabilities nearer than that are equal."""


class Classified(NamedTuple):
    """What a classifier says of some of the examples, none of which it has learned."""

    examples_A: np.ndarray
    """Their codes, rising."""
    probabilities_AC: np.ndarray
    """Of the classes 0..C-1; others have none."""


class Consensus(NamedTuple):
    """What is likely said of each example, and how far each voice is to be believed."""

    labels_U: np.ndarray
    """The likeliest label; of equal ones the smallest."""
    quality_U: np.ndarray
    """Its probability, 0..1."""
    is_tied_U: np.ndarray
    """Whether another label is as likely."""
    probability_N: np.ndarray
    """Of the label that the voice says, 0..1."""
    weights_L: np.ndarray
    classifier_weight: float
    """0 without a classifier."""


def weigh_voices(
    examples_N: np.ndarray,
    labelers_N: np.ndarray,
    labels_N: np.ndarray,
    *,
    num_classes: int,
    is_measured_N: np.ndarray | None = None,
    unmeasured_as: Literal["mean", "best"] = "mean",
    classified: Classified | None = None,
) -> Consensus:
    """The consensus on each example.

    examples_N, labelers_N, labels_N: codes from 0 on, each example with one voice or more, one of a labeler on an
    example. is_measured_N: False for voices that say nothing of how reliable their labeler is, because they were not
    chosen by chance. A labeler without any other is as reliable as all on the mean, or (`unmeasured_as`) as the best.
    """
    votes = _Votes.of(examples_N, labels_N, classified)
    most_U = votes.most()
    is_shared_U = votes.num_U > 1
    agreement, mode_error = _agreement(votes, most_U, is_shared_U)
    share_L, is_told_L = _shares(votes, labelers_N, is_measured_N)
    if not is_told_L.any():
        share_L[:] = agreement
    else:
        share_L[~is_told_L] = share_L[is_told_L].max() if unmeasured_as == "best" else share_L[is_told_L].mean()
    weights_L = np.maximum(1 - (1 - share_L) / mode_error, _WEIGHT_MIN)
    classifier_weight = _classifier_weight(votes, most_U, is_shared_U, classified, mode_error)
    own_K = np.bincount(votes.key_N, weights=weights_L[labelers_N], minlength=len(votes.labels_K))
    whole_U = np.bincount(examples_N, weights=weights_L[labelers_N], minlength=len(votes.num_U))
    other = (1 - agreement) / max(1, num_classes - 1)
    asked_K = np.where(np.isnan(votes.prior_K), 0.0, classifier_weight)
    total_K = whole_U[votes.examples_K] + asked_K
    said_K = own_K * agreement + (whole_U[votes.examples_K] - own_K) * other
    found_K = (said_K + asked_K * np.nan_to_num(votes.prior_K)) / total_K
    order = np.lexsort((-votes.labels_K, found_K, votes.examples_K))
    last_U = np.searchsorted(votes.examples_K[order], np.arange(len(votes.num_U)), side="right") - 1
    best_U = order[last_U]
    second_U = order[np.maximum(last_U - 1, 0)]
    has_second_U = (votes.examples_K[second_U] == votes.examples_K[best_U]) & (second_U != best_U)
    is_tied_U = has_second_U & (found_K[best_U] - found_K[second_U] < SAME_WITHIN)
    return Consensus(
        votes.labels_K[best_U], found_K[best_U], is_tied_U, found_K[votes.key_N], weights_L, classifier_weight
    )


class _Votes(NamedTuple):
    """The labels K, by example."""

    examples_K: np.ndarray
    labels_K: np.ndarray
    num_K: np.ndarray
    """Voices."""
    prior_K: np.ndarray
    """The classifier's probability; NaN where it was not asked."""
    key_N: np.ndarray
    num_U: np.ndarray

    @classmethod
    def of(cls, examples_N: np.ndarray, labels_N: np.ndarray, classified: Classified | None) -> "_Votes":
        examples, labels = examples_N, labels_N
        if classified is not None:
            examples = np.concatenate([examples_N, classified.examples_A])
            labels = np.concatenate([labels_N, classified.probabilities_AC.argmax(axis=1)])
        width = int(labels.max(initial=0)) + 1
        keys, which = np.unique(examples * width + labels, return_inverse=True)
        key_N = which.reshape(-1)[: len(examples_N)]
        examples_K, labels_K = keys // width, keys % width
        return cls(
            examples_K=examples_K,
            labels_K=labels_K,
            num_K=np.bincount(key_N, minlength=len(keys)),
            prior_K=_prior(examples_K, labels_K, classified),
            key_N=key_N,
            num_U=np.bincount(examples_N),
        )

    def most(self) -> np.ndarray:
        """(U,) the key that most voices say; of equal ones that of the likelier, then of the rarer, then of the smaller
        label."""
        overall = np.bincount(self.labels_K, weights=self.num_K)
        order = np.lexsort(
            (-self.labels_K, -overall[self.labels_K], np.nan_to_num(self.prior_K), self.num_K, self.examples_K)
        )
        last_U = np.searchsorted(self.examples_K[order], np.arange(len(self.num_U)), side="right") - 1
        return np.asarray(order[last_U])


def _prior(examples_K: np.ndarray, labels_K: np.ndarray, classified: Classified | None) -> np.ndarray:
    found_K = np.full(len(labels_K), np.nan)
    if classified is None or not len(classified.examples_A):
        return found_K
    num_classes = classified.probabilities_AC.shape[1]
    place_K = np.minimum(np.searchsorted(classified.examples_A, examples_K), len(classified.examples_A) - 1)
    is_asked_K = classified.examples_A[place_K] == examples_K
    found_K[is_asked_K] = 0.0
    is_known_K = is_asked_K & (labels_K < num_classes)
    found_K[is_known_K] = classified.probabilities_AC[place_K[is_known_K], labels_K[is_known_K]]
    return found_K


def _agreement(votes: _Votes, most_U: np.ndarray, is_shared_U: np.ndarray) -> tuple[float, float]:
    """(P, E)."""
    if not is_shared_U.any():
        return 1.0, 1.0
    share_U = votes.num_K[most_U] / votes.num_U
    counts = np.bincount(votes.labels_K[most_U[is_shared_U]])
    return float(share_U[is_shared_U].mean()), max(float(1 - counts.max() / counts.sum()), _WEIGHT_MIN)


def _shares(votes: _Votes, labelers_N: np.ndarray, is_measured_N: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(L,) 1 - e_j, and whether it is known."""
    measured = np.ones(len(labelers_N)) if is_measured_N is None else is_measured_N.astype(np.float64)
    examples_N = votes.examples_K[votes.key_N]
    num_U = np.bincount(examples_N, weights=measured, minlength=len(votes.num_U))
    same_K = np.bincount(votes.key_N, weights=measured, minlength=len(votes.labels_K))
    others_L = np.bincount(labelers_N, weights=(num_U[examples_N] - measured) * measured)
    agreeing_L = np.bincount(labelers_N, weights=(same_K[votes.key_N] - measured) * measured)
    return agreeing_L / np.maximum(others_L, 1), others_L > 0


def _classifier_weight(
    votes: _Votes, most_U: np.ndarray, is_shared_U: np.ndarray, classified: Classified | None, mode_error: float
) -> float:
    """w_M."""
    if classified is None:
        return 0.0
    is_compared_A = is_shared_U[classified.examples_A]
    said_A = votes.labels_K[most_U[classified.examples_A[is_compared_A]]]
    if not len(said_A):
        return _WEIGHT_MIN
    error = float((classified.probabilities_AC[is_compared_A].argmax(axis=1) != said_A).mean())
    return max(1 - error / mode_error, _WEIGHT_MIN) * float(np.sqrt(votes.num_U.mean()))
