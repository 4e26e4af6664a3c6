"""Examples that a person should look at: far from all others, or with a label that is likely wrong.

Both are told and refuse nothing, unless the policy has a limit.

Shape suffixes: N opinions of the batch, R accepted rows, n those of both that are compared, K classes.
"""

import numpy as np
import pyarrow as pa

from components.validate.batch import Places, codes_in, count_bad, drawn
from components.validate.examined import ExaminedRows
from ratchet.core.labels.agreement import latest_opinions
from ratchet.core.labels.digests import id_digests
from ratchet.core.labels.label_errors import ERRORS_LEFT_MAX, NUM_FOLDS, encoded, likely_wrong, out_of_fold
from ratchet.core.labels.measured import FOUND_ROWS_MAX, FoundRow, RowFinding, not_looked
from ratchet.core.labels.outliers import ROWS_MIN, outliers_of
from ratchet.core.labels.schema import CategoryOutput, inputs_table
from ratchet.tasks.spec import TaskSpec

CLASS_ROWS_MIN = 20
"""Labels of a class from which on a classifier has learned it."""
ROWS_MAX = 3_000
"""Of the batch, and of the accepted ones: 1 s."""
_ERRORS, _ERRORS_RULE = "likely label errors", "labels are likely wrong"


def find_outliers(examined: ExaminedRows, reference: ExaminedRows, places: Places, spec: TaskSpec) -> RowFinding:
    """Rows of the batch with a value far from those of the batch and of the accepted rows."""
    rows, num_known = examined.rows, reference.rows.num_rows
    rule = "rows have a value far from all others"
    both = pa.concat_tables([part.select(["inputs", "label"]) for part in (reference.rows, rows)])
    contrasts = {name: np.append(reference.contrasts[name], own_N) for name, own_N in examined.contrasts.items()}
    if both.num_rows < ROWS_MIN:
        why = f"outliers are not looked for among {both.num_rows} labels; {ROWS_MIN} are needed"
        return not_looked("outliers", rule, why)
    is_out_N = np.zeros(rows.num_rows, dtype=bool)
    texts: dict[int, str] = {}
    for found in outliers_of(both, spec.examples, contrasts):
        own_N = found.is_out_N[num_known:]
        is_out_N |= own_N
        for row in np.flatnonzero(own_N)[:FOUND_ROWS_MAX].tolist():
            texts.setdefault(row, found.what)
    named = np.flatnonzero(is_out_N)[:FOUND_ROWS_MAX]
    said = rows.select(["id", "labeler", "shard"]).take(pa.array(named)).to_pylist()
    return RowFinding(
        count=count_bad("outliers", rule, is_out_N, places),
        rows=tuple(
            FoundRow(id=each["id"], labeler=each["labeler"] or "", shard=each["shard"], text=texts[row])
            for row, each in zip(named.tolist(), said, strict=True)
            if row in texts
        ),
    )


def find_label_errors(rows: pa.Table, reference: pa.Table, places: Places, spec: TaskSpec) -> RowFinding:
    """Labels of the batch that a plain classifier, which has not seen them, contradicts with confidence."""
    if not isinstance(spec.output, CategoryOutput):
        return _not_asked(f"the output is of type {spec.output.type}")
    own = drawn(rows, latest_opinions(rows), ROWS_MAX)
    accepted = drawn(reference, np.arange(reference.num_rows), ROWS_MAX)
    parts = ((rows, own), (reference, accepted))
    both = pa.concat_tables([part.select(["id", "inputs", "label"]).take(pa.array(some)) for part, some in parts])
    codes_n = codes_in(both["label"], pa.array(spec.classes, pa.string()))
    counts_K = np.bincount(codes_n[codes_n >= 0], minlength=len(spec.classes))
    learned = np.flatnonzero(counts_K >= CLASS_ROWS_MIN)
    if len(learned) < 2:
        return _not_asked(f"{len(learned)} classes have {CLASS_ROWS_MIN} labels; 2 are needed")
    kept = np.flatnonzero(np.isin(codes_n, learned))
    labels_n = np.searchsorted(learned, codes_n[kept])
    probabilities_nK = _probabilities(both.take(pa.array(kept)), labels_n, len(learned), spec)
    error = float((probabilities_nK.argmax(axis=1) != labels_n).mean())
    limit = ERRORS_LEFT_MAX * float(1 - counts_K.max() / counts_K[learned].sum())
    if error > limit:
        return _not_asked(
            f"a plain classifier errs on {error:.1%} of the labels; the limit is {limit:.1%}, half of what always "
            "answering the most frequent class errs"
        )
    wrong, likely = likely_wrong(labels_n, probabilities_nK)
    is_own = kept[wrong] < len(own)
    num_judged = int((kept < len(own)).sum())
    return _errors(rows, own[kept[wrong[is_own]]], learned[likely[is_own]], num_judged, places, spec)


def _not_asked(why: str) -> RowFinding:
    return not_looked(_ERRORS, _ERRORS_RULE, f"likely label errors are not looked for: {why}")


def _probabilities(rows: pa.Table, labels_n: np.ndarray, num_classes: int, spec: TaskSpec) -> np.ndarray:
    """(n, K), out of fold. An example is in one fold whole, whoever labelled it."""
    folds_n = (id_digests(rows["id"]) // np.uint64(100)) % np.uint64(NUM_FOLDS)  # its last digits are the split
    return out_of_fold(encoded(inputs_table(rows, spec.examples), spec.examples), labels_n, folds_n, num_classes)


def _errors(
    rows: pa.Table, wrong: np.ndarray, likely: np.ndarray, num_judged: int, places: Places, spec: TaskSpec
) -> RowFinding:
    is_bad_N = np.zeros(rows.num_rows, dtype=bool)
    is_bad_N[wrong] = True
    named = wrong[:FOUND_ROWS_MAX]
    said = rows.select(["id", "labeler", "shard", "label"]).take(pa.array(named)).to_pylist()
    found = []
    for each, code in zip(said, likely[:FOUND_ROWS_MAX].tolist(), strict=True):
        given, suggested = each["label"], spec.classes[code]
        text = f"labelled {given!r}; {suggested!r} is more likely"
        found.append(
            FoundRow(
                id=each["id"],
                labeler=each["labeler"] or "",
                shard=each["shard"],
                text=text,
                given=given,
                suggested=suggested,
            )
        )
    count = count_bad(_ERRORS, _ERRORS_RULE, is_bad_N, places).model_copy(update={"num_rows": num_judged})
    return RowFinding(count=count, rows=tuple(found))
