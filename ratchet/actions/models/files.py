"""Are the files of a model still in the bucket, and are they that model's? Asked before any traffic moves to it."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ratchet.core.errors import DataRejected, NotFound, SettingsError
from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import ObjectStore, TrustedKeys
from ratchet.tasks.identity import IDENTITY_FILES, missing_of, read_model
from ratchet.tasks.signature import check_folder

_S3 = "s3://"
_RESTORE = "Restore them from a backup of the models' bucket, or roll out another version"


class ModelFiles(Protocol):
    """Knows whether a model could be fetched and would be the one that was judged."""

    def find_trouble(self, model: ModelRef) -> str:
        """One sentence with the next step; "" when the files are whole. Raises Unavailable."""


class StoredModelFiles:
    """`ModelFiles` over the bucket: fetches a model, and compares its digest and its signature.

    keys: None where no signature is checked. A model without one is in order unless `is_signature_required`.
    """

    def __init__(
        self, objects: ObjectStore, keys: TrustedKeys | None = None, *, is_signature_required: bool = False
    ) -> None:
        self._objects, self._keys, self._is_signature_required = objects, keys, is_signature_required

    def find_trouble(self, model: ModelRef) -> str:
        missing = list_missing(self._objects, model.uri)
        if missing:
            return f"files missing in {model.uri}: {', '.join(missing)}. {_RESTORE}"
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model"
            try:
                self._objects.fetch_directory(model.uri, path)
                read_model(path, expected_digest=model.digest)
            except (DataRejected, NotFound) as error:
                return f"files changed: {error}".replace(str(path), model.uri).rstrip(".")
            try:
                check_folder(path, self._keys, is_required=self._is_signature_required)
            except DataRejected as error:
                return f"signature refused: {error}".replace(str(path), model.uri).rstrip(".")
        return ""


def list_missing(objects: ObjectStore, uri: str) -> tuple[str, ...]:
    """Names of the files that a model must have and that are not there. One listing."""
    if not uri.startswith(_S3):  # anybody may register anything in MLflow
        return IDENTITY_FILES
    root = f"{uri.rstrip('/')}/"
    return missing_of(found.removeprefix(root) for found in objects.list_uris(root))


def find_missing(objects: ObjectStore, uris: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`list_missing` of many models, with one listing a folder that they lie in; empty for a whole one.

    A place that cannot be listed (another bucket, no S3 URI at all) has all its files missing.
    """
    names_of: dict[str, set[str]] = {uri.rstrip("/"): set() for uri in uris}
    for folder in {uri.rpartition("/")[0] for uri in names_of if uri.startswith(_S3)}:
        try:
            for found in objects.list_uris(f"{folder}/"):
                digest, _, name = found.removeprefix(f"{folder}/").partition("/")
                if f"{folder}/{digest}" in names_of:
                    names_of[f"{folder}/{digest}"].add(name)
        except (NotFound, SettingsError):
            continue
    return {uri: missing_of(names) for uri, names in names_of.items()}


def trouble_of(files: ModelFiles | None, model: ModelRef) -> str:
    """As `ModelFiles.find_trouble`; "" where nobody can look."""
    return files.find_trouble(model) if files is not None else ""
