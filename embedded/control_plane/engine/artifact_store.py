"""Artifacts in S3: copied to this machine before a task that reads them, and from it after the task that made them."""

import hashlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import certifi
import urllib3
from minio import Minio
from minio.error import MinioException

from embedded.control_plane.engine.google_storage import check_gs_access, download_gs, is_gs
from embedded.control_plane.engine.roots import Root, bucket_and_key, is_s3
from embedded.control_plane.engine.values import Artifact, Values
from embedded.control_plane.engine.workspace import IN_WORKSPACE, imported_path
from embedded.control_plane.errors import DataRejected, NotFound, Unavailable

_SECRET = "ratchet"  # noqa: S105 - the name of a secret, not its value
"""The secret that holds where S3 is, and the key to it."""
_CONNECT_S, _READ_S, _NUM_TRIES = 3.0, 60.0, 3


class ArtifactStore:
    """Calls of one task; it asks for the way to S3 only when an artifact is there."""

    def __init__(self, secrets_dir: Path) -> None:
        self._secret = secrets_dir / _SECRET
        self._client: Minio | None = None

    def stage_in(self, inputs: Values, folder: Path, *, workspace: Path) -> Values:
        """The same inputs with every remote artifact as a file or folder below `folder`, or, where an importer has put
        it already, in the run's workspace."""
        staged: dict[str, tuple[Artifact, ...]] = {}
        for key, artifacts in inputs.artifacts.items():
            staged[key] = tuple(self._staged(artifact, folder, workspace) for artifact in artifacts)
        return inputs.model_copy(update={"artifacts": staged})

    def stage_out(self, outputs: Values, root: Root, *, inputs: Values, folder: Path) -> Values:
        """The same outputs with S3 addresses: those of `root`, or of the input that an output hands on.

        folder: where `stage_in` put the inputs.
        """
        handed_on = {
            str(local_path_of(artifact.uri, folder)): artifact.uri
            for artifacts in inputs.artifacts.values()
            for artifact in artifacts
            if is_s3(artifact.uri) or is_gs(artifact.uri)
        }
        published: dict[str, tuple[Artifact, ...]] = {}
        for key, artifacts in outputs.artifacts.items():
            published[key] = tuple(self._published(artifact, key, root, handed_on) for artifact in artifacts)
        return outputs.model_copy(update={"artifacts": published})

    def copy_in(self, uri: str, path: Path) -> None:
        """Copy what is at an address to `path`, in one step: half a copy has no name."""
        half = path.with_name(f".{path.name}.{uuid.uuid4().hex}.half")
        half.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._copy(uri, half)
            # rename(2) replaces a file, but no folder with something in it.
            if path.is_dir():
                shutil.rmtree(path)
            half.replace(path)
        finally:
            # `half` is a folder or a file; the other of the two lines does nothing.
            shutil.rmtree(half, ignore_errors=True)
            half.unlink(missing_ok=True)

    def _copy(self, uri: str, path: Path) -> None:
        if is_gs(uri):
            download_gs(uri, path)
        elif is_s3(uri):
            self._download(uri, path)
        elif Path(uri).is_dir():
            shutil.copytree(uri, path)
        else:
            shutil.copyfile(uri, path)

    def _staged(self, artifact: Artifact, folder: Path, workspace: Path) -> Artifact:
        if artifact.metadata.get(IN_WORKSPACE) is True:
            # The executor's own rule for this mark ends in /kfp-workspace, which is not there.
            metadata = {key: value for key, value in artifact.metadata.items() if key != IN_WORKSPACE}
            path = imported_path(artifact, workspace)
            return artifact.model_copy(update={"uri": str(path), "metadata": metadata})
        if not is_s3(artifact.uri) and not is_gs(artifact.uri):
            return artifact
        path = local_path_of(artifact.uri, folder)
        if not path.exists():
            self.copy_in(artifact.uri, path)
        return artifact.model_copy(update={"uri": str(path)})

    def _published(self, artifact: Artifact, key: str, root: Root, handed_on: Mapping[str, str]) -> Artifact:
        if artifact.uri in handed_on:
            return artifact.model_copy(update={"uri": handed_on[artifact.uri]})
        if not root.uri or not artifact.uri.startswith("/"):
            return artifact
        uri = f"{root.uri}/{key}"
        self._upload(Path(artifact.uri), uri)
        return artifact.model_copy(update={"uri": uri})

    def _download(self, uri: str, path: Path) -> None:
        """One object, or all below a prefix as a folder."""
        bucket, name = _split(uri)
        with self._named(uri) as client:
            # S3 has no folders: a prefix with objects below it is one, and only without any is the name an object.
            objects = list(client.list_objects(bucket, prefix=name.rstrip("/") + "/", recursive=True))
            # A key that ends in "/" is the empty marker which consoles write for a folder.
            names = [str(found.object_name) for found in objects if not str(found.object_name).endswith("/")]
            if not names:
                path.parent.mkdir(parents=True, exist_ok=True)
                client.fget_object(bucket, name, str(path))
                return
            for found in names:
                below = PurePosixPath(found.removeprefix(name.rstrip("/") + "/"))
                if ".." in below.parts or below.is_absolute():
                    raise DataRejected(f"{uri}: the object {found!r} would be written outside. Remove that object.")
                client.fget_object(bucket, found, str(path / below))

    def _upload(self, path: Path, uri: str) -> None:
        """A file, or a folder with all below it; nothing when the task wrote nothing there, as on a cluster."""
        bucket, name = _split(uri)
        files = [path] if path.is_file() else [one for one in sorted(path.rglob("*")) if one.is_file()]
        with self._named(uri) as client:
            for file in files:
                below = "" if file == path else f"/{file.relative_to(path).as_posix()}"
                client.fput_object(bucket, name + below, str(file))

    @contextmanager
    def _named(self, uri: str) -> Iterator[Minio]:
        """The client; what goes wrong with it names the address."""
        try:
            self._client = self._client or self._connected()
            yield self._client
        except MinioException as error:
            code = getattr(error, "code", type(error).__name__)
            raise NotFound(
                f"{uri}: {code}: {error}. Check the address, and the credentials in secret {_SECRET}."
            ) from None
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"{uri}: {error}. Check that the object store is up: `ratchet status`.") from None

    def _connected(self) -> Minio:
        endpoint = self._read("RATCHET_S3_ENDPOINT")
        return Minio(
            endpoint.partition("://")[2].rstrip("/"),
            access_key=self._read("RATCHET_S3_ACCESS_KEY"),
            secret_key=self._read("RATCHET_S3_SECRET_KEY"),
            region=self._read("RATCHET_S3_REGION") or None,
            secure=endpoint.startswith("https://"),
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
                retries=urllib3.Retry(total=_NUM_TRIES, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
                cert_reqs="CERT_REQUIRED",
                ca_certs=certifi.where(),
            ),
        )

    def _read(self, key: str) -> str:
        try:
            return (self._secret / key).read_text().strip()
        except FileNotFoundError:
            raise Unavailable(
                f"Secret {_SECRET!r} has no key {key}, so S3 cannot be reached. Write it to {self._secret / key}."
            ) from None


def local_path_of(uri: str, folder: Path) -> Path:
    """Where an S3 artifact is put: its own name, in a folder that its address names."""
    name = PurePosixPath(uri).name
    return folder / hashlib.sha256(uri.encode()).hexdigest()[:16] / (name or "artifact")


def check_import(uri: str) -> None:
    """DataRejected for an address that no task here can read."""
    if is_gs(uri):
        check_gs_access(uri)
    elif uri.startswith("oci://"):
        raise DataRejected(
            f"{uri}: models in images need a container registry, and a cluster. Import a folder of s3://."
        )
    elif "://" in uri and not is_s3(uri):
        raise DataRejected(
            f"{uri}: this backend imports s3://, minio://, gs:// and local files only. Copy it there, and import that."
        )


def _split(uri: str) -> tuple[str, str]:
    bucket, name = bucket_and_key(uri)
    if not name:
        raise DataRejected(f"{uri} is a bucket, not an artifact. Write s3://bucket/name.")
    return bucket, name
