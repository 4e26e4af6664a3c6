"""The tables that runs left behind, where KFP keeps artifacts: files in the state folder, or objects in S3."""

from collections.abc import Sequence
from pathlib import Path

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.ports import ObjectStore, Pipelines

_OUTPUTS = ("incoming", "reference")
"""Of `ingest`: no other artifact has rows of examples in it."""
_PAGES = ("report",)
"""Of `validate`, and of steps whose pages name no example."""
_RUNS_MAX = 10_000
_S3 = ("s3://", "minio://")


class KfpRunTables:
    """`ports.RunTables`."""

    def __init__(self, pipelines: Pipelines, objects: ObjectStore, *, state_dir: Path) -> None:
        self._pipelines = pipelines
        self._objects = objects
        self._state_dir = state_dir

    def list_tables(self, task: str) -> Sequence[str]:
        return self._uris_of(task, _OUTPUTS)

    def list_pages(self, task: str) -> Sequence[str]:
        return self._uris_of(task, _PAGES)

    def _uris_of(self, task: str, outputs: Sequence[str]) -> Sequence[str]:
        runs = self._pipelines.list_runs(experiment=task, limit=_RUNS_MAX)
        found = (each for run in runs for each in self._pipelines.list_artifacts(run.run_id))
        return sorted({each.uri for each in found if each.output in outputs})

    def fetch(self, uri: str) -> bytes:
        if uri.startswith(_S3):
            return self._objects.fetch(_as_s3(uri))
        try:
            return self._path_of(uri).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{uri} is gone.") from None

    def replace(self, uri: str, data: bytes) -> None:
        """Whole or not at all: a process that dies leaves the old file."""
        if uri.startswith(_S3):
            self._objects.put(_as_s3(uri), data) if data else self._objects.delete(_as_s3(uri))
            return
        path = self._path_of(uri)
        if not data:
            path.unlink(missing_ok=True)
            return
        half = path.with_name(f"{path.name}.half")
        half.write_bytes(data)
        half.replace(path)

    def _path_of(self, uri: str) -> Path:
        """KFP says where it is; nothing outside of the state folder is read or written for that."""
        path = Path(uri.removeprefix("file://"))
        if not path.resolve().is_relative_to(self._state_dir.resolve()):
            raise DataRejected(f"{uri} is outside of {self._state_dir}.")
        return path


def _as_s3(uri: str) -> str:
    return f"s3://{uri.partition('://')[2]}"
