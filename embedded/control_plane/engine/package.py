"""The compiled pipeline inside an uploaded `.zip` or `.tar.gz`, never more of it than a pipeline may have. Pure.

Source: kubeflow/pipelines, backend/src/apiserver/server/util.go, ReadPipelineFile: `pipeline.yaml`, or the first file.
"""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence

from embedded.control_plane.errors import DataRejected

_ZIP, _GZIP = b"PK", b"\x1f\x8b"
_WANTED = "pipeline.yaml"


def unpacked(raw: bytes, *, bytes_max: int) -> bytes:
    """The file's YAML; `raw` itself when it is no archive. DataRejected for an archive that is broken or too large."""
    if not raw.startswith((_ZIP, _GZIP)):
        return raw
    try:
        return _from_zip(raw, bytes_max) if raw.startswith(_ZIP) else _from_tarball(raw, bytes_max)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
        kind = "zip file" if raw.startswith(_ZIP) else "tar.gz file"
        raise DataRejected(f"The file is not a {kind} that can be read: {error}. Pack {_WANTED} again.") from None


def _from_zip(raw: bytes, bytes_max: int) -> bytes:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive, archive.open(_chosen(archive.namelist())) as file:
        return _bounded(file.read, bytes_max)


def _from_tarball(raw: bytes, bytes_max: int) -> bytes:
    # Unpacked within the bound before tarfile sees it, which would inflate all of it to list the members.
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
        content = _bounded(packed.read, bytes_max)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        file = archive.extractfile(_chosen([member.name for member in archive.getmembers() if member.isfile()]))
        return file.read() if file else b""


def _chosen(names: Sequence[str]) -> str:
    name = _WANTED if _WANTED in names else next(iter(names), "")
    if not name.endswith((".yaml", ".yml")):
        raise DataRejected(f"The archive holds no {_WANTED}; its first file is {name!r}. Pack the pipeline as that.")
    return name


def _bounded(read: Callable[[int], bytes], bytes_max: int) -> bytes:
    # One byte beyond the bound tells "at the limit" from "too large" without reading the rest.
    content = read(bytes_max + 1)
    if len(content) > bytes_max:
        raise DataRejected(f"The archive holds more than {bytes_max} bytes. Pack the compiled pipeline alone.")
    return content
