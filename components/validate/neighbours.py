"""The rows of a batch and those accepted before as arrays, for the checks by nearest neighbours.

Shape suffixes: N opinions of the batch, R accepted rows, F numbers of an example.
"""

import numpy as np
import pyarrow as pa

from components.validate.batch import codes_in, drawn
from ratchet.core.labels.agreement import latest_opinions
from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.noise import local_disagreement, measure_label_noise
from ratchet.core.labels.quality import QualityPolicy
from ratchet.core.labels.schema import CategoryOutput, ExampleSchema, NumberInput, VectorInput, inputs_table
from ratchet.tasks.spec import TaskSpec

NOISE_ROWS_MAX = 5_000
"""Of the batch, and of the accepted ones: neighbours are looked for among twice as many, 1 s."""
KNOWN_ROWS_MAX = 20_000
"""Known examples of the batch whose surroundings are looked at; the others are judged by other labelers alone."""


def skip_text(schema: ExampleSchema) -> str:
    """Why neighbours say nothing in a task; "" where they do: of inputs that are all numbers, and of classes."""
    if not isinstance(schema.output, CategoryOutput):
        return f"the output is of type {schema.output.type}"
    others = [each for each in schema.inputs if not isinstance(each, NumberInput | VectorInput)]
    return f"the input {others[0].name!r} is of type {others[0].type}, which has no distance" if others else ""


class Neighbours:
    """What the neighbours of each label say; nothing where the policy does not ask, or there are too few."""

    def __init__(self, spec: TaskSpec, policy: QualityPolicy, rows: pa.Table, reference: pa.Table) -> None:
        self._policy = policy
        self._schema = spec.examples
        self._rows = rows
        self._is_asked = policy.contradicted_excess_max is not None and not skip_text(spec.examples)
        if self._is_asked:
            classes = pa.array(spec.classes, pa.string())
            self._labels_N = codes_in(rows["label"], classes)
            self._is_whole_N = _is_whole(rows, self._schema)
            labels_R = codes_in(reference["label"], classes)
            accepted = np.flatnonzero((labels_R >= 0) & _is_whole(reference, self._schema))
            accepted = accepted[:: len(accepted) // NOISE_ROWS_MAX + 1]
            self._reference_RF = self._numbers(reference, accepted)
            self._reference_labels_R = labels_R[accepted]

    def measure_noise(self, is_excused_N: np.ndarray) -> tuple[LabelerRecord, ...]:
        """How each labeler's labels are contradicted, compared with the labels around them. is_excused_N: opinions that
        are left out."""
        if not self._is_asked:
            return ()
        latest = latest_opinions(self._rows)
        usable = latest[((self._labels_N >= 0) & self._is_whole_N & ~is_excused_N)[latest]]
        if len(usable) + len(self._reference_labels_R) < self._policy.num_noise_rows_min:
            return ()
        some = drawn(self._rows, usable, NOISE_ROWS_MAX)
        said = self._rows.take(pa.array(some))
        return measure_label_noise(
            self._numbers(self._rows, some),
            self._labels_N[some],
            said["labeler"].to_pylist(),
            codes_of(said["id"]),
            self._reference_RF,
            self._reference_labels_R,
            num_neighbours=self._policy.num_neighbours,
            num_against=self._policy.num_against,
            num_judged_min=self._policy.num_shared_min,
            confidence=self._policy.confidence,
        )

    def noise_around(self, known_N: pa.Array) -> np.ndarray | None:
        """How often two accepted labels near each row's example differ, (N,) 0..1, NaN where that is not asked (no
        known label) or cannot be said; None when nothing tells."""
        if not self._is_asked:
            return None
        known = np.flatnonzero(known_N.is_valid().to_numpy(zero_copy_only=False) & self._is_whole_N)
        some = drawn(self._rows, known, KNOWN_ROWS_MAX)
        differ_n = local_disagreement(
            self._numbers(self._rows, some),
            self._reference_RF,
            self._reference_labels_R,
            num_neighbours=self._policy.num_neighbours,
        )
        if differ_n is None:
            return None
        noise_N = np.full(self._rows.num_rows, np.nan)
        noise_N[some] = differ_n
        return noise_N

    def _numbers(self, rows: pa.Table, some: np.ndarray) -> np.ndarray:
        """(n, F) float64 of these rows, which are whole."""
        inputs = inputs_table(rows.select(["inputs"]).take(pa.array(some)), self._schema)
        columns = []
        for each in self._schema.inputs:
            column = whole_column(inputs[each.name])
            flat = column.flatten() if isinstance(each, VectorInput) else column
            size = each.size if isinstance(each, VectorInput) else 1
            columns.append(flat.to_numpy(zero_copy_only=False).reshape(-1, size))
        return np.concatenate(columns, axis=1).astype(np.float64)


def _is_whole(rows: pa.Table, schema: ExampleSchema) -> np.ndarray:
    """(N,) whether no input is missing."""
    inputs = inputs_table(rows, schema)
    is_whole_N = np.ones(rows.num_rows, dtype=bool)
    for name in inputs.column_names:
        is_whole_N &= whole_column(inputs[name]).is_valid().to_numpy(zero_copy_only=False)
    return is_whole_N
