"""Dataset versions: names, and the index of known examples."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet.core.labels.dataset import DataFile, plan_index_merge, task_of, version_name, version_number
from ratchet.core.labels.known import KnownExamples, rows_in_question
from ratchet.core.labels.shards import id_digest_of, split_at, split_of
from ratchet.core.labels.tables import INDEX


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=200))
def test_index_files_stay_few_and_lose_nothing(batches: list[int]) -> None:
    sizes: list[int] = []
    for batch in batches:
        merged = plan_index_merge(sizes, batch)
        sizes[len(sizes) - merged :] = [sum(sizes[len(sizes) - merged :]) + batch]
    assert sum(sizes) == sum(batches)
    assert all(large > 2 * small for large, small in itertools.pairwise(sizes))
    assert len(sizes) <= np.log2(sum(batches)) + 1


@pytest.mark.parametrize("version", ["digits/v0", "digits/v01", "digits", "v1", "digits/v1/x", "Digits/v1", "../v1"])
def test_what_is_no_version(version: str) -> None:
    with pytest.raises(ValueError, match="not a dataset version"):
        version_number(version)


def test_a_version_names_its_task_and_number() -> None:
    version = version_name("digits", 12)
    assert (version, task_of(version), version_number(version)) == ("digits/v12", "digits", 12)


@pytest.mark.parametrize("path", ["../x", "shards/../../x", "/shards/x", "shards/"])
def test_a_file_stays_in_its_folder(path: str) -> None:
    with pytest.raises(ValidationError):
        DataFile(path=path, num_rows=1, sha256="", md5="")


def test_a_twin_in_another_split_comes_first() -> None:
    names = {split_of(f"e{number}"): f"e{number}" for number in range(100)}
    ids = np.array([id_digest_of(name) for name in names.values()], np.uint64)
    index = pa.table([ids, np.full(3, 7, np.uint64), ["a", "a", "a"]], schema=INDEX)
    asked = np.array([id_digest_of(names["train"]), id_digest_of(names["train"]), 0], np.uint64)
    inputs = np.array([7, 8, 9], np.uint64)
    known = KnownExamples.of([index], ids_B=asked, inputs_B=inputs)
    assert known.twin_splits_of(inputs, ids_B=asked).to_pylist() == ["test", None, None]
    assert known.labels_of(asked).to_pylist() == ["a", "a", None]


IDS = st.integers(0, 12).map(lambda number: id_digest_of(f"e{number}"))


@given(st.dictionaries(IDS, st.integers(1, 3)), st.lists(st.tuples(IDS, st.integers(1, 4)), max_size=12))
def test_what_is_known_of_a_batch_is_what_is_known_of_each(index: dict[int, int], batch: list[tuple[int, int]]) -> None:
    table = pa.table(
        [pa.array(index, pa.uint64()), pa.array(index.values(), pa.uint64()), [f"of-{of}" for of in index]],
        schema=INDEX,
    )
    ids, inputs = (np.array([row[place] for row in batch], np.uint64) for place in (0, 1))
    known = KnownExamples.of([table.slice(0, 5), table.slice(5)], ids_B=ids, inputs_B=inputs)
    assert known.labels_of(ids).to_pylist() == [f"of-{of}" if of in index else None for of, _ in batch]
    expected = []
    for of, looks in batch:
        others = [split_at(other) for other, found in index.items() if found == looks and other != of]
        expected.append(min(others, key=lambda split: (split == split_at(of), split), default=None))
    assert known.twin_splits_of(inputs, ids_B=ids).to_pylist() == expected


def test_only_rows_in_question_are_looked_up() -> None:
    ids, features = np.array([1, 2, 3, 4], np.uint64), np.array([10, 20, 30, 40], np.uint64)
    batch_ids, batch_features = np.array([2, 9], np.uint64), np.array([40, 90], np.uint64)
    assert rows_in_question(ids, features, ids_B=batch_ids, features_B=batch_features).tolist() == [1, 3]
