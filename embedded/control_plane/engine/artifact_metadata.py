"""Metadata of artifacts as their readers get it: on a cluster it passes through ML Metadata, with fewer types. Pure.

Source: kubeflow/pipelines, backend/src/v2/metadata/converter.go, StructValueToMLMDValue and toRuntimeArtifact.
"""

from collections.abc import Mapping
from typing import Any

from embedded.control_plane.errors import DataRejected


def metadata_of_reader(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Booleans are 0 and 1; a list is an object with the key `list`, an object one with the key `struct`."""
    return {key: _as_read(value) for key, value in metadata.items()}


def check_metadata(metadata: Mapping[str, Any], *, where: str) -> None:
    """DataRejected for a null: the launcher cannot record it."""
    for key, value in metadata.items():
        if value is None:
            raise DataRejected(f"{where}: its metadata has null (None) at {key!r}, which a cluster cannot record.")


def _as_read(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (list, tuple)):
        return {"list": list(value)}
    return {"struct": value} if isinstance(value, dict) else value
