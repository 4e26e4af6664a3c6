"""What a plain classifier says of accepted examples that a batch speaks of again.

Shape suffixes: N opinions of the batch, n rows that are compared, K classes.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.validate.batch import codes_in, drawn, first_rows
from ratchet.core.labels.agreement import latest_opinions
from ratchet.core.labels.digests import id_digests
from ratchet.core.labels.disputes import AskedExamples
from ratchet.core.labels.label_errors import ERRORS_LEFT_MAX, NUM_FOLDS, encoded, out_of_fold
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.schema import CategoryOutput, inputs_table
from ratchet.tasks.spec import TaskSpec

CLASS_ROWS_MIN = 5
"""Labels of a class from which on it is asked for. Few, as its answers weigh by how often they are right."""
ROWS_MAX = 3_000
"""Accepted rows, new ones, and examples that are asked about, of each: 1 s."""


def ask_classifier(rows: pa.Table, reference: pa.Table, known_N: pa.Array, spec: TaskSpec) -> AskedExamples | str:
    """Probabilities for the accepted examples that opinions of the batch are about, or why nothing is asked.

    It learns from accepted labels that nobody contradicts and from new ones, never from the example that it is asked
    about. The served champion is not asked: it has learned the accepted labels, the wrong ones too.
    """
    if not isinstance(spec.output, CategoryOutput):
        return f"the output is of type {spec.output.type}"
    asked, disputed = _asked(rows, known_N)
    learned = [
        _learnable(reference, np.arange(reference.num_rows), disputed),
        _learnable(rows, _new(rows, known_N), disputed),
    ]
    both = pa.concat_tables([*learned, rows.select(_COLUMNS).take(pa.array(asked))])
    is_learned_n = np.arange(both.num_rows) < both.num_rows - len(asked)
    codes_n = codes_in(both["label"], pa.array(spec.classes, pa.string()))
    counts_K = np.bincount(codes_n[is_learned_n & (codes_n >= 0)], minlength=len(spec.classes))
    classes = np.flatnonzero(counts_K >= CLASS_ROWS_MIN)
    if len(classes) < 2:
        return f"{len(classes)} classes have {CLASS_ROWS_MIN} undisputed labels; 2 are needed"
    kept = np.flatnonzero(~is_learned_n | np.isin(codes_n, classes))
    labels_n, is_learned_n = np.searchsorted(classes, codes_n[kept]), is_learned_n[kept]
    probabilities_nK = _probabilities(both.take(pa.array(kept)), labels_n, is_learned_n, len(classes), spec)
    error = float((probabilities_nK.argmax(axis=1) != labels_n)[is_learned_n].mean())
    limit = ERRORS_LEFT_MAX * float(1 - counts_K.max() / counts_K[classes].sum())
    if error > limit:
        return f"it errs on {error:.1%} of the labels; the limit is {limit:.1%}"
    ids = whole_column(rows["id"].take(pa.array(asked)))
    return AskedExamples(ids, tuple(spec.classes[code] for code in classes), probabilities_nK[~is_learned_n])


_COLUMNS = ["id", "inputs", "label"]


def _asked(rows: pa.Table, known_N: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """A row of each accepted example, contradicted ones first where there are too many; and the ids of these."""
    known = np.flatnonzero(known_N.is_valid().to_numpy(zero_copy_only=False))
    labels = whole_column(rows["label"])
    codes = codes_of(pa.concat_arrays([labels.take(pa.array(known)), known_N.take(pa.array(known))]))
    disputed = pc.unique(whole_column(rows["id"]).take(pa.array(known[codes[: len(known)] != codes[len(known) :]])))
    first = known[first_rows(codes_of(rows["id"].take(pa.array(known))))]
    ids = rows["id"].take(pa.array(first))
    is_disputed = pc.is_in(ids, value_set=disputed).to_numpy(zero_copy_only=False)
    order = np.lexsort((id_digests(ids), ~is_disputed.astype(bool)))
    return first[order[:ROWS_MAX]], disputed


def _new(rows: pa.Table, known_N: pa.Array) -> np.ndarray:
    """One row of each labeler and example that no version holds yet."""
    latest = latest_opinions(rows)
    return latest[known_N.is_null().to_numpy(zero_copy_only=False)[latest]]


def _learnable(rows: pa.Table, some: np.ndarray, disputed: pa.Array) -> pa.Table:
    taken = rows.select(_COLUMNS).take(pa.array(drawn(rows, some, ROWS_MAX)))
    return taken.filter(pc.invert(pc.is_in(taken["id"], value_set=disputed)))


def _probabilities(
    rows: pa.Table, labels_n: np.ndarray, is_learned_n: np.ndarray, num_classes: int, spec: TaskSpec
) -> np.ndarray:
    """(n, K), out of fold. An example is in one fold whole, wherever it is."""
    folds_n = (id_digests(rows["id"]) // np.uint64(100)) % np.uint64(NUM_FOLDS)  # its last digits are the split
    inputs = encoded(inputs_table(rows, spec.examples), spec.examples)
    return out_of_fold(inputs, labels_n, folds_n, num_classes, is_learned_N=is_learned_n)
