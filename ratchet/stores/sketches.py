"""Sketches of dataset versions: `s3://ratchet/sketches/<task>/v<n>-<schema digest>.parquet`.

All of it is derived from the shards of the version. What is missing or cannot be read is made again when it is needed.
"""

import logging
import re
from typing import ClassVar, NamedTuple

import pyarrow as pa

from ratchet.core.digest import digest_of
from ratchet.core.errors import NotFound
from ratchet.core.labels.dataset import task_of, version_number
from ratchet.core.labels.drift.stored import bytes_of_sketch, sketch_of_bytes
from ratchet.core.labels.drift.tables import SKETCH_FORMAT, TableSketch
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.layouts import Layout
from ratchet.stores.layout import Store

VERSIONS_KEPT_MAX = 16
"""Of a task. A sketch takes up to 0.5 MB for 20 columns; that of an older version is made again when it is needed."""
_NAME = re.compile(r"v([1-9]\d*)-[0-9a-f]+\.parquet")
log = logging.getLogger(__name__)


class StoredSketch(NamedTuple):
    """A sketch, and the shards (sha256) that it is of."""

    sketch: TableSketch
    covers: frozenset[str]


class Sketches(Store):
    """Of the versions of every task."""

    layout: ClassVar[Layout] = "sketches"

    def put(self, version: str, schema: ExampleSchema, stored: StoredSketch) -> None:
        """Keep a sketch, and let go of those of much older versions."""
        self.objects.put(self._uri_of(version, schema), bytes_of_sketch(stored.sketch, sorted(stored.covers)))
        number = version_number(version)
        for uri in self._list(task_of(version)):
            found = _NAME.fullmatch(uri.rpartition("/")[2])
            if found is not None and int(found[1]) <= number - VERSIONS_KEPT_MAX:
                self.objects.delete(uri)

    def fetch(self, version: str, schema: ExampleSchema) -> StoredSketch | None:
        """None when there is none of this version and of these inputs."""
        uri = self._uri_of(version, schema)
        try:
            sketch, covers = sketch_of_bytes(self.objects.fetch(uri))
        except NotFound:
            return None
        except (ValueError, KeyError, TypeError, pa.ArrowException, OSError) as error:
            log.warning("%s is not a sketch (%s) and is made again.", uri, error)
            return None
        return StoredSketch(sketch, frozenset(covers))

    def forget(self, task: str) -> None:
        """Delete every sketch of a task: after an erasure, because a sketch holds values of single rows."""
        for uri in self._list(task):
            self.objects.delete(uri)

    def _list(self, task: str) -> list[str]:
        return list(self.objects.list_uris(self._uri(task, "")))

    def _uri_of(self, version: str, schema: ExampleSchema) -> str:
        digest = digest_of({"schema": schema.model_dump(mode="json"), "format": SKETCH_FORMAT})[:16]
        return self._uri(task_of(version), f"v{version_number(version)}-{digest}.parquet")
