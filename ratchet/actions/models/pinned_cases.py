"""The file of a task's pinned cases: read and written as a whole, and its cases looked up in a dataset version.

The file lies beside the task file and is reviewed like it. A kill while it is written leaves the file of before.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.actions.labels.images import ImageSource, read_images
from ratchet.actions.labels.reading import iter_opinions
from ratchet.actions.labels.rows import COLUMNS, fetch_split
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import DataRejected, NotFound, PolicyError
from ratchet.core.labels.images import encode_png
from ratchet.core.labels.input_values import GivenImage
from ratchet.core.labels.parsing import Row
from ratchet.core.labels.schema import ExampleSchema, ImageInput
from ratchet.core.labels.shards import split_of
from ratchet.core.models.cases import PinnedCase, parse_cases, render_cases, with_pinned
from ratchet.core.ports import DatasetStore
from ratchet.tasks.spec import TaskSpec
from wire.printable import printable


class PinnedRows(NamedTuple):
    """A task's pinned cases, ready to be answered."""

    cases: tuple[PinnedCase, ...]
    rows: pa.Table
    """Columns id, inputs and label, of the same cases; a picture is its pixels."""

    @property
    def digest(self) -> str:
        """Of what is asked, and what is right."""
        return digest_of_bytes(repr((tuple(case.name for case in self.cases), self.rows.to_pylist())).encode())


NO_CASES = PinnedRows((), pa.table({}))


def read_cases(path: Path, schema: ExampleSchema) -> tuple[PinnedCase, ...]:
    """None when there is no file. DataRejected names the line that is wrong."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}. Make it a file that this user may read.") from None
    return parse_cases(data, schema, where=str(path))


def decoded(cases: Sequence[PinnedCase], schema: ExampleSchema, images: ImageSource) -> PinnedRows:
    """With their pictures read. DataRejected names the case whose picture cannot be used."""
    read = read_images([(f"pinned case {case.name}", case.row) for case in cases], schema, images)
    columns = pa.schema([schema.rows_schema.field(name) for name in COLUMNS])
    rows = [{"id": row["id"], "inputs": inputs, "label": row["label"]} for _, row, inputs in read]
    return PinnedRows(tuple(cases), pa.Table.from_pylist(rows, schema=columns))


def pin(path: Path, rows: Sequence[Row], schema: ExampleSchema, *, reason: str) -> Sequence[PinnedCase]:
    """Add these rows to the file; gives the new cases."""
    before = read_cases(path, schema)
    after = with_pinned(before, rows, reason=reason)
    _write(path, parse_cases(render_cases(after, schema), schema, where=str(path)), schema)
    return after[len(before) :]


def unpin(path: Path, names: Collection[str], schema: ExampleSchema) -> Sequence[PinnedCase]:
    """Take the cases of these names or ids out of the file; gives them. NotFound when one is none."""
    cases = read_cases(path, schema)
    known = {each for case in cases for each in (case.name, case.id)}
    if missing := [name for name in names if name not in known]:
        listed = ", ".join(case.name for case in cases[:10]) or "none"
        raise NotFound(f"{path} has no pinned case {printable(missing[0])!r}; known: {listed}.")
    gone = [case for case in cases if case.name in names or case.id in names]
    _write(path, [case for case in cases if case not in gone], schema)
    return gone


def forget_ids(path: Path, ids: Collection[str], schema: ExampleSchema) -> Sequence[str]:
    """Take examples that are erased out of the file; names the file when that cannot be done."""
    try:
        cases = read_cases(path, schema)
        kept = [case for case in cases if case.id not in ids]
        if len(kept) != len(cases):
            _write(path, kept, schema)
    except (DataRejected, PolicyError):
        return (str(path),)
    return ()


def rows_of_file(path: Path, schema: ExampleSchema) -> list[Row]:
    """The label lines of a person's file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataRejected(f"{path}: {error.strerror}. Name a readable JSONL file of labels.") from None
    return [row for _, row in iter_opinions(data, str(path), schema=schema)]


def rows_of_ids(datasets: DatasetStore, spec: TaskSpec, ids: Sequence[str], *, at: Any) -> list[Row]:
    """Examples of the newest dataset version, as they are labelled there. NotFound names one that is not in it.

    at: the moment that stands in the place of when each was labelled.
    """
    manifests = datasets.fetch_manifests(spec.name)
    if not manifests:
        raise NotFound(f"{spec.name} has no dataset version yet. Give the case as a label line with --file.")
    found: dict[str, Row] = {}
    with TemporaryDirectory() as scratch:
        for split in sorted({split_of(each) for each in ids}):
            path = Path(scratch) / f"{split}.parquet"
            fetch_split(datasets, manifests[-1], split, path, spec=spec)
            table = pq.read_table(path)
            rows = table.filter(pc.is_in(table["id"], value_set=pa.array(list(ids)))).to_pylist()
            found |= {row["id"]: _as_line(row, spec.examples, at=at) for row in rows}
    if missing := [each for each in ids if each not in found]:
        raise NotFound(
            f"{printable(missing[0])!r} is not in {manifests[-1].version}. Push its label and retrain first, or give "
            "the case as a label line with --file."
        )
    return [found[each] for each in ids]


def _as_line(row: dict[str, Any], schema: ExampleSchema, *, at: Any) -> Row:
    inputs = dict(row["inputs"])
    for image in schema.inputs:
        if isinstance(image, ImageInput) and inputs[image.name] is not None:
            inputs[image.name] = GivenImage("", encode_png(inputs[image.name], image))
    return {"id": row["id"], "inputs": inputs, "label": row["label"], "labeler": "pinned", "labeled_at": at}


def _write(path: Path, cases: Sequence[PinnedCase], schema: ExampleSchema) -> None:
    """As a whole: under another name first."""
    partly = path.with_name(f".{path.name}.partly")
    try:
        partly.write_bytes(render_cases(cases, schema))
        partly.replace(path)
    except OSError as error:
        raise PolicyError(
            f"{path} cannot be written: {error.strerror}. Pin where the configs are edited, and deploy them."
        ) from None
