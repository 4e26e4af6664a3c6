"""What both models answer to the pinned cases, and whether the challenger has seen them."""

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ratchet.actions.labels.left_out import numbers_of, read_left_out
from ratchet.actions.labels.rows import COLUMNS, fetch_split
from ratchet.actions.models.pinned_cases import PinnedRows
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.schema import inputs_table
from ratchet.core.labels.shards import Split, split_of
from ratchet.core.models.cases import CaseAnswers, mark_right
from ratchet.core.ports import DatasetStore
from ratchet.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from ratchet.tasks.model_files import ServableModel


def answer_cases(
    pinned: PinnedRows, challenger: "ServableModel", champion: "ServableModel | None", *, trained: list[str]
) -> CaseAnswers | None:
    """None of a task without pinned cases."""
    if not pinned.cases:
        return None
    examples = challenger.spec.examples
    # The task file may have changed since the training: the model's own says what its inputs are.
    columns = pa.schema([examples.rows_schema.field(name) for name in COLUMNS])
    rows = pa.Table.from_pylist(pinned.rows.to_pylist(), schema=columns)
    inputs, labels = inputs_table(rows, examples), rows["label"].to_pylist()
    right = [
        mark_right(model.answer(inputs).labels.to_pylist(), labels, challenger.spec.output)
        for model in (challenger, champion)
        if model is not None
    ]
    return CaseAnswers([case.name for case in pinned.cases], right[0], right[1] if champion else None, trained)


def trained_cases(
    pinned: PinnedRows, manifest: Manifest, datasets: DatasetStore, model_path: Path, scratch: Path, spec: TaskSpec
) -> list[str]:
    """Names of the cases that are in a row which the challenger was trained or chosen by."""
    name_of = {case.id: case.name for case in pinned.cases}
    left_out, found = read_left_out(model_path), set[str]()
    splits: tuple[Split, ...] = ("train", "val")
    for split in splits:
        ids = [each for each in name_of if split_of(each) == split]
        if not ids:
            continue
        path = scratch / f"pinned-{split}.parquet"
        fetch_split(datasets, manifest, split, path, spec=spec)
        found |= {name_of[each] for each in ids if set(numbers_of(path, [each])) - set(left_out.rows.get(split, ()))}
    return sorted(found)
