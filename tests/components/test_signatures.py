"""Near copies are looked for in the whole accepted version, at the cost of the batch and one read of signatures."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.validate.examined import as_examined, examine
from ratchet.actions.labels.parts import PART_BYTES, read_parts
from ratchet.actions.labels.signing import fetch_signatures
from ratchet.core.labels.near.signatures import Signatures
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.tables import incoming_schema
from ratchet.stores.example_signatures import ExampleSignatures
from ratchet.tasks.spec import TaskSpec
from tests.components.crash import Watched, killed_at
from tests.components.data import Room
from tests.components.rollout_world import Objects
from tests.components.test_near_duplicates import BODIES, MAILS, PHOTOS, edited, found_of, mails, named, photo, push

FOLDER = "s3://ratchet/signatures/"


class Counted(Room):
    """It counts the shards that are fetched."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fetched: list[str] = []
        fetch = self.datasets.fetch_shard

        def fetch_and_tell(file: Any) -> bytes:
            self.fetched.append(file.path)
            return fetch(file)

        self.datasets.fetch_shard = fetch_and_tell  # type: ignore[assignment, method-assign]

    def grow(self, examples: list[tuple[str, dict[str, Any]]], spec: TaskSpec = MAILS) -> str:
        """Push, ingest and validate; gives the version, which is accepted."""
        push(self, examples)
        version, _ = self.ingest(spec)
        self.fetched.clear()
        verdict = self.validate(version, spec=spec)
        assert verdict.verdict == "accepted", verdict.summary()
        return version

    @property
    def store(self) -> ExampleSignatures:
        return ExampleSignatures(self.objects, "ratchet")

    def signatures(self, version: str, spec: TaskSpec = MAILS) -> Signatures:
        self.fetched.clear()
        return fetch_signatures(spec, version, datasets=self.datasets, signatures=self.store)


@pytest.fixture
def room(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def ids_of(signatures: Signatures) -> list[str]:
    return sorted(signatures.rows["id"].to_pylist())


def test_a_near_copy_of_any_accepted_row_is_found_whichever_split_and_version_it_is_of(room: Counted) -> None:
    in_test = named("test", "old")
    room.grow([(in_test, {"body": BODIES[0]}), *mails(range(1, 30))])
    room.grow(mails(range(30, 60)))
    copy = named("train", "copy")
    version = room.grow([(copy, edited(0)), *mails(range(60, 90))])
    (row,) = found_of(room, version, "near leakage").rows
    assert (row.id, row.text) == (copy, f"in train; nearly the same as '{in_test}' in test")


def test_signatures_cost_what_is_new_and_are_made_again_when_they_are_lost(room: Counted) -> None:
    first = room.grow(mails(range(30)))
    assert room.fetched == []
    second = room.grow(mails(range(30, 40)))
    assert all(path.startswith("shards/v1-") for path in room.fetched)
    room.grow(mails(range(40, 50)))
    assert all(path.startswith("shards/v2-") for path in room.fetched)
    assert ids_of(room.signatures(second)) == sorted(name for name, _ in mails(range(40)))
    assert room.fetched == []
    (uri,) = [uri for uri in room.objects.all_uris() if uri.startswith(f"{FOLDER}{second}-")]
    kept = room.signatures(second)
    room.objects.put(uri, b"torn")
    assert room.signatures(second).rows.sort_by("id") == kept.rows.sort_by("id")
    assert {path.split("-")[0] for path in room.fetched} == {"shards/v2"}
    room.store.forget("digits")
    assert room.signatures(second).rows.sort_by("id") == kept.rows.sort_by("id")
    assert {path.split("-")[0] for path in room.fetched} == {"shards/v1", "shards/v2"}
    assert room.signatures(first).rows.num_rows == 30


def test_signatures_of_two_versions_stay(room: Counted) -> None:
    for start in range(0, 50, 10):
        room.grow(mails(range(start, start + 10)))
    kept = [uri.removeprefix(FOLDER).split("-")[0] for uri in room.objects.all_uris() if uri.startswith(FOLDER)]
    assert sorted(kept) == ["digits/v3", "digits/v4"]


def test_another_task_file_is_compared_by_signatures_of_its_own(room: Counted) -> None:
    version = room.grow(mails(range(20)))
    assert room.signatures(version).rows.num_rows == 20
    told = MAILS.model_dump()
    inputs = [*told["inputs"], {"name": "size", "type": "number", "optional": True}]
    wider = TaskSpec.model_validate({**told, "inputs": inputs, "model": {"kind": "tabular"}})
    assert room.signatures(version, wider).rows.column_names == ["id", "split", "code", "grids", "text", "exact"]
    classes = TaskSpec.model_validate({**told, "output": {"type": "category", "classes": ["ham", "spam", "other"]}})
    assert room.signatures(version, classes).rows.num_rows == 20 and room.fetched == []


def test_a_process_killed_anywhere_leaves_what_the_next_one_completes(tmp_path: Path) -> None:
    plain = Room(tmp_path)
    plain.objects = Objects()
    for start in (0, 10, 20):
        push(plain, mails(range(start, start + 10)))
        assert plain.validate(plain.ingest(MAILS)[0], spec=MAILS).verdict == "accepted"

    def sign(world: Room, strike: Any) -> Signatures:
        store = ExampleSignatures(Watched(world.objects, strike), "ratchet")
        return fetch_signatures(MAILS, "digits/v3", datasets=world.datasets, signatures=store)

    point = 0
    while (left := killed_at(point, plain, sign, tmp_path)) is not None:
        assert ids_of(sign(left, lambda _: None)) == sorted(name for name, _ in mails(range(30)))
        kept = {uri.removeprefix(FOLDER).split("-")[0] for uri in left.objects.all_uris() if uri.startswith(FOLDER)}
        assert "digits/v3" in kept
        point += 1
    assert point == 4  # before and after the object is put, and the oldest one is deleted


def test_pictures_are_read_in_parts_and_their_thumbnails_stay(room: Counted) -> None:
    push(room, [(f"photo-{at}", {"photo": photo(at)}) for at in range(30)])
    room.ingest(PHOTOS)
    schema = PHOTOS.examples
    found = examine(room.path("incoming"), incoming_schema(schema), schema)
    assert found.rows.schema.field("inputs").type == as_examined(schema).inputs_type
    assert found.rows.num_rows == len(found.codes_N) == len(found.contrasts["photo"]) == 30
    assert found.filter(np.arange(30) < 7).signatures.rows == found.signatures.rows.slice(0, 7)


def test_no_part_holds_more_pixels_than_the_limit(room: Counted) -> None:
    large = ExampleSchema.model_validate(
        {
            "inputs": [{"name": "photo", "type": "image", "width": 1024, "height": 1024}],
            "output": PHOTOS.output.model_dump(),
        }
    )
    spec = PHOTOS.model_copy(update={"inputs": large.inputs})
    push(room, [(f"photo-{at}", {"photo": photo(at)}) for at in range(5)])
    room.ingest(spec)
    sizes = [part.num_rows for part in read_parts(room.path("incoming"), large)]
    assert sum(sizes) == 5 and max(sizes) * 3 * 1024**2 <= PART_BYTES


MEMORY = """
import re, sys
from pathlib import Path
from components.validate.examined import examine
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.tables import parquet_writer
import numpy as np, pyarrow as pa

def peak_mb():
    # Not getrusage: its peak is inherited from the parent, whichever program that runs.
    return int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) >> 10

schema = ExampleSchema.model_validate({
    "inputs": [{"name": "photo", "type": "image", "width": 512, "height": 512}],
    "output": {"type": "category", "classes": ["a", "b"]},
})
wanted, size = pa.schema(list(schema.rows_schema)[:2]), 512 * 512 * 3
draw = np.random.default_rng(0)
with parquet_writer(sys.argv[1], wanted, compression="lz4") as writer:
    for part in range(40):
        values = pa.array([draw.bytes(size) for _ in range(10)], pa.binary(size))
        inputs = pa.StructArray.from_arrays([values], fields=list(schema.inputs_type))
        writer.write_table(pa.table([pa.array([f"{part}-{at}" for at in range(10)]), inputs], schema=wanted))
before = peak_mb()
print(examine(sys.argv[1], wanted, schema).rows.num_rows, peak_mb() - before)
"""


@pytest.mark.slow
def test_hundreds_of_large_pictures_take_a_fraction_of_their_bytes(tmp_path: Path) -> None:
    """315 MB of pixels."""
    said = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "incoming")], capture_output=True, text=True, check=True
    )
    num_rows, more_mb = map(int, said.stdout.split())
    assert (num_rows, more_mb < 200) == (400, True), more_mb
