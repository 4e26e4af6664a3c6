"""Sketches of dataset versions: `s3://ratchet/sketches/<task>/v<n>-<schema digest>.parquet`.

All of it is derived from the shards of the version. What is missing or cannot be read is made again when it is needed.
"""

from typing import ClassVar, NamedTuple

from ratchet.core.digest import digest_of
from ratchet.core.labels.drift.stored import bytes_of_sketch, sketch_of_bytes
from ratchet.core.labels.drift.tables import SKETCH_FORMAT, TableSketch
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.layouts import Layout
from ratchet.stores.version_objects import VersionObjects


class StoredSketch(NamedTuple):
    """A sketch, and the shards (sha256) that it is of."""

    sketch: TableSketch
    covers: frozenset[str]


class Sketches(VersionObjects):
    """Of the versions of every task. One takes up to 0.5 MB for 20 columns."""

    layout: ClassVar[Layout] = "sketches"

    def put(self, version: str, schema: ExampleSchema, stored: StoredSketch) -> None:
        """Keep a sketch."""
        self._keep(version, _end_of(schema), bytes_of_sketch(stored.sketch, sorted(stored.covers)))

    def fetch(self, version: str, schema: ExampleSchema) -> StoredSketch | None:
        """None when there is none of this version and of these inputs."""

        def read(data: bytes) -> StoredSketch:
            sketch, covers = sketch_of_bytes(data)
            return StoredSketch(sketch, frozenset(covers))

        return self._kept(version, _end_of(schema), read)


def _end_of(schema: ExampleSchema) -> str:
    return f"-{digest_of({'schema': schema.model_dump(mode='json'), 'format': SKETCH_FORMAT})[:16]}.parquet"
