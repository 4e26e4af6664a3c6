"""The files of registered models: `s3://models/<task>/<digest>`, a bucket of their own."""

from dataclasses import dataclass
from pathlib import Path

from ratchet.core.ports import ObjectStore
from ratchet.core.uris import s3_uri


@dataclass(frozen=True)
class ModelFolders:
    """A folder a model; its name is the digest of what decides the model's answers."""

    objects: ObjectStore
    bucket: str

    def uri_of(self, task: str, digest: str) -> str:
        return s3_uri(self.bucket, f"{task}/{digest}")

    def put(self, path: Path, *, task: str, digest: str) -> str:
        """The URI of the folder; whatever lies there already is the same."""
        uri = self.uri_of(task, digest)
        self.objects.put_directory(path, uri)
        return uri
