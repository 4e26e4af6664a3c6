"""The rows of a batch and those accepted before as arrays, for the checks by nearest neighbours."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ratchet.core.digest import digest_of
from ratchet.core.labels.agreement import Opinion
from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.noise import local_disagreement, measure_label_noise
from ratchet.core.labels.quality import QualityPolicy
from ratchet.tasks.spec import TaskSpec

NOISE_ROWS_MAX = 5_000
"""Of the batch, and of the accepted ones: neighbours are looked for among twice as many, 1 s."""
Columns = Mapping[str, list[Any]]


class Neighbours:
    """What the neighbours of each label say; nothing where the policy does not ask, or there are too few."""

    def __init__(self, spec: TaskSpec, policy: QualityPolicy, columns: Columns, reference: Columns) -> None:
        self._spec = spec
        self._policy = policy
        self._index_of = {name: index for index, name in enumerate(spec.classes)}
        self._features_by_id = {of: row for of, row in self._rows(columns) if row is not None}
        accepted = [
            (row, self._index_of[label])
            for (_, row), label in zip(self._rows(reference), reference["label"], strict=True)
            if row is not None and label in self._index_of
        ]
        accepted = accepted[:: len(accepted) // NOISE_ROWS_MAX + 1]
        self._reference_RF = self._array([row for row, _ in accepted])
        self._reference_labels_R = np.array([label for _, label in accepted], dtype=np.int64)

    def measure_noise(self, opinions: Sequence[Opinion]) -> tuple[LabelerRecord, ...]:
        """How each labeler's labels are contradicted, compared with the labels around them."""
        usable = [said for said in opinions if said.id in self._features_by_id and said.label in self._index_of]
        is_enough = len(usable) + len(self._reference_labels_R) >= self._policy.num_noise_rows_min
        if self._policy.contradicted_excess_max is None or not is_enough:
            return ()
        some = sorted(usable, key=lambda said: digest_of([said.id, said.labeler]))[:NOISE_ROWS_MAX]
        number_of = {of: number for number, of in enumerate(dict.fromkeys(said.id for said in some))}
        return measure_label_noise(
            self._array([self._features_by_id[said.id] for said in some]),
            np.array([self._index_of[said.label] for said in some], dtype=np.int64),
            [said.labeler for said in some],
            np.array([number_of[said.id] for said in some], dtype=np.int64),
            self._reference_RF,
            self._reference_labels_R,
            num_neighbours=self._policy.num_neighbours,
            num_against=self._policy.num_against,
            num_judged_min=self._policy.num_shared_min,
            confidence=self._policy.confidence,
        )

    def noise_around(self, ids: Iterable[str]) -> Mapping[str, float] | None:
        """How often two accepted labels near an example differ (0..1), by id; None when nothing tells."""
        if self._policy.contradicted_excess_max is None:
            return None
        known = [of for of in ids if of in self._features_by_id]
        differ_N = local_disagreement(
            self._array([self._features_by_id[of] for of in known]),
            self._reference_RF,
            self._reference_labels_R,
            num_neighbours=self._policy.num_neighbours,
        )
        return None if differ_N is None else dict(zip(known, map(float, differ_N), strict=True))

    def _rows(self, columns: Columns) -> Iterable[tuple[str, list[float] | None]]:
        """(id, features), None for those that are not whole."""
        num = self._spec.features.num_features
        for of, features in zip(columns["id"], columns["features"], strict=True):
            is_whole = features is not None and len(features) == num and None not in features
            yield of, features if is_whole else None

    def _array(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        return np.array(rows, dtype=np.float64).reshape(-1, self._spec.features.num_features)
