"""Labels that are likely wrong: confident learning on out-of-fold probabilities of a plain classifier. Pure.

The probabilities are those of a linear discriminant of the encoded inputs, fitted without the rows that it judges. The
champion's would not do: it has learned these rows.

Sources: Northcutt, Jiang, Chuang, "Confident Learning" (2021), the method that cleanlab 2.9 calls "confident_learning":
on the same probabilities both name the same rows. Fisher's discriminant with a shrunk covariance: Friedman,
"Regularized Discriminant Analysis" (1989).

Shape suffixes: N rows, K classes, D columns, F folds.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.near.images import thumbnails
from ratchet.core.labels.near.signatures import numbers_of
from ratchet.core.labels.near.texts import plain_texts
from ratchet.core.labels.schema import ExampleSchema, ImageInput

NUM_FOLDS = 5
ERRORS_LEFT_MAX = 0.5
"""The classifier must make at most this share of the errors of one that always answers the most frequent class."""
_WORDS_MAX, _VALUES_MAX, _NUMBERS_MAX = 400, 50, 512
"""Columns of one text, of one category, of all numbers: the most frequent words and values, evenly drawn numbers."""
_SHRINKAGE = 0.1
_DEVIATIONS_MAX = 5.0
_EPSILON = 1e-6


def encoded(inputs: pa.Table, schema: ExampleSchema) -> np.ndarray:
    """(N, D) float64: the inputs as numbers of about one size; what is missing is the mean."""
    blocks = [_scaled(_thinned(numbers_of(inputs, schema)))]
    for each in schema.of_type("boolean", "datetime", "category", "text", "image"):
        column = whole_column(inputs[each.name])
        if isinstance(each, ImageInput):
            blocks.append(_scaled(thumbnails(column, each)))
        elif each.type == "text":
            blocks.append(_scaled(_words_of(plain_texts(column))))
        elif each.type == "category":
            blocks.append(_scaled(_presence(column, np.arange(len(column)), len(column), _VALUES_MAX)))
        else:
            numbers = column.cast(pa.int64()) if each.type == "datetime" else column.cast(pa.int8())
            blocks.append(_scaled(numbers.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)[:, None]))
    return np.concatenate(blocks, axis=1)


def out_of_fold(
    rows_ND: np.ndarray,
    labels_N: np.ndarray,
    folds_N: np.ndarray,
    num_classes: int,
    *,
    is_learned_N: np.ndarray | None = None,
) -> np.ndarray:
    """(N, K) float64 probabilities of each row, of a classifier that was fitted on the other folds.

    is_learned_N: False for rows that are asked about and never learned from, whatever their labels.
    """
    is_learned_N = np.ones(len(labels_N), dtype=bool) if is_learned_N is None else is_learned_N
    found_NK = np.zeros((len(rows_ND), num_classes))
    for fold in np.unique(folds_N):
        is_in = folds_N == fold
        learned = ~is_in & is_learned_N
        found_NK[is_in] = _discriminant(rows_ND[learned], labels_N[learned], rows_ND[is_in], num_classes)
    return found_NK


def likely_wrong(labels_N: np.ndarray, probabilities_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows, their likely classes), the least likely label first.

    A row belongs confidently to the likeliest of the classes whose probability is at least the mean that the rows
    labelled so have. It is likely wrong when that is another class than its label.
    """
    num_classes = probabilities_NK.shape[1]
    thresholds_K = np.array([probabilities_NK[labels_N == each, each].mean() for each in range(num_classes)])
    is_confident_NK = probabilities_NK >= thresholds_K - _EPSILON
    likely_N = np.where(is_confident_NK, probabilities_NK, -1.0).argmax(axis=1)
    is_wrong_N = is_confident_NK.any(axis=1) & (likely_N != labels_N) & (probabilities_NK.argmax(axis=1) != labels_N)
    rows = np.flatnonzero(is_wrong_N)
    rows = rows[np.argsort(probabilities_NK[rows, labels_N[rows]], kind="stable")]
    return rows, likely_N[rows]


def _discriminant(rows_ND: np.ndarray, labels_N: np.ndarray, asked_MD: np.ndarray, num_classes: int) -> np.ndarray:
    """(M, K) probabilities of the asked rows. A class without a row has none."""
    counts_K = np.bincount(labels_N, minlength=num_classes)
    means_KD = np.stack(
        [
            rows_ND[labels_N == each].mean(axis=0) if num else np.zeros(rows_ND.shape[1])
            for each, num in enumerate(counts_K)
        ]
    )
    within_ND = rows_ND - means_KD[labels_N]
    within_DD = within_ND.T @ within_ND / max(1, len(rows_ND) - num_classes)
    typical = max(float(np.trace(within_DD)) / len(within_DD), _EPSILON)
    shrunk_DD = (1 - _SHRINKAGE) * within_DD + _SHRINKAGE * typical * np.eye(len(within_DD))
    weights_DK = np.linalg.solve(shrunk_DD, means_KD.T)
    offsets_K = -0.5 * np.einsum("kd,dk->k", means_KD, weights_DK)
    with np.errstate(divide="ignore"):
        scores_MK = asked_MD @ weights_DK + offsets_K + np.log(counts_K / counts_K.sum())
    powers_MK = np.exp(scores_MK - scores_MK.max(axis=1, keepdims=True))
    return np.asarray(powers_MK / powers_MK.sum(axis=1, keepdims=True))


def _scaled(values_ND: np.ndarray) -> np.ndarray:
    """Mean 0, deviation 1, nothing far out."""
    finite = np.where(np.isfinite(values_ND) & (np.abs(values_ND) < 1e100), values_ND, np.nan)
    known_ND = ~np.isnan(finite)
    num_D = np.maximum(known_ND.sum(axis=0), 1)
    centred = np.where(known_ND, finite - np.where(known_ND, finite, 0.0).sum(axis=0) / num_D, 0.0)
    deviation_D = np.sqrt((centred**2).sum(axis=0) / num_D)
    return np.clip(centred / np.where(deviation_D > 0, deviation_D, 1.0), -_DEVIATIONS_MAX, _DEVIATIONS_MAX)


def _thinned(numbers_NF: np.ndarray) -> np.ndarray:
    return numbers_NF[:, :: -(-numbers_NF.shape[1] // _NUMBERS_MAX) or 1]


def _words_of(texts: pa.Array) -> np.ndarray:
    words = pc.utf8_split_whitespace(texts)
    rows = pc.list_parent_indices(words).to_numpy(zero_copy_only=False)
    return _presence(pc.list_flatten(words), rows, len(texts), _WORDS_MAX)


def _presence(values: pa.Array, rows_V: np.ndarray, num_rows: int, num_max: int) -> np.ndarray:
    """(N, at most num_max): 1 where a row has one of the most frequent values."""
    coded = values.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    counts = np.bincount(coded[coded >= 0])
    frequent = np.argsort(-counts, kind="stable")[:num_max]
    columns = np.full(len(counts) + 1, -1)  # the last one is that of a missing value
    columns[frequent] = np.arange(len(frequent))
    is_asked = columns[coded] >= 0
    found = np.zeros((num_rows, len(frequent)))
    found[rows_V[is_asked], columns[coded[is_asked]]] = 1.0
    return found
