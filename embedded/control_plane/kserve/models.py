"""Models on this machine's disk: downloaded from S3 once for each content, whoever serves them."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import certifi
import urllib3
from minio import Minio
from minio.error import MinioException

from embedded.control_plane.errors import DataRejected, NotFound, Unavailable

_NUM_FILES_MAX = 1_000
_MD5 = re.compile(r"[0-9a-f]{32}")
_SIZE_BYTES_MAX = 16 * 2**30
_CONNECT_S, _READ_S, _NUM_TRIES = 3.0, 30.0, 3
STORAGE_SECRET = "ratchet"  # noqa: S105 - the name of a secret, not its value
"""The secret that holds where S3 is, and the key to it."""


class StoredFile(NamedTuple):
    """One object of a model: its path inside the model's folder, and what identifies its content."""

    path: str
    size_bytes: int
    etag: str


class ModelCache:
    """Folders of models under `root`, one for each URI and content: overwriting an object makes a new folder."""

    def __init__(self, root: Path, *, secrets_dir: Path) -> None:
        self._root = root
        self._secret = secrets_dir / STORAGE_SECRET

    def fetch(self, uri: str, *, is_checked: bool = False) -> Path:
        """The model's folder, downloaded if need be. DataRejected, NotFound or Unavailable say what went wrong.

        is_checked: compare a folder that is here with what the object store says of its files; one that differs is
        downloaded again.
        """
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        prefix = prefix.strip("/") + "/"
        try:
            client = self._client()
            files = self._list_files(client, bucket=bucket, prefix=prefix, uri=uri)
            folder = self._root / digest_of_model(uri, files)
            if not folder.is_dir() or (is_checked and not is_intact(folder, files)):
                self._download(client, bucket=bucket, prefix=prefix, files=files, folder=folder)
            return folder
        except MinioException as error:
            code = getattr(error, "code", type(error).__name__)
            raise NotFound(
                f"{uri}: {code}: {error}. Check storageUri and the credentials in secret {STORAGE_SECRET}."
            ) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(
                f"{uri}: cannot be downloaded: {error}. Check that the object store is up: `ratchet status`."
            ) from None

    def prune(self, used: Iterable[Path]) -> None:
        """Forget the models that no revision uses, and half downloads."""
        keep = {path.name for path in used}
        if self._root.is_dir():
            for folder in self._root.iterdir():
                if folder.name not in keep:
                    shutil.rmtree(folder, ignore_errors=True)

    def _list_files(self, client: Minio, *, bucket: str, prefix: str, uri: str) -> list[StoredFile]:
        files: list[StoredFile] = []
        for item in client.list_objects(bucket, prefix=prefix, recursive=True):
            name = str(item.object_name)
            if not name.endswith("/"):
                files.append(StoredFile(check_path(name.removeprefix(prefix), uri), item.size or 0, item.etag or ""))
            if len(files) > _NUM_FILES_MAX:
                raise DataRejected(f"{uri}: more than {_NUM_FILES_MAX} files; this is no model. Correct storageUri.")
        if not files:
            raise NotFound(f"{uri}: the folder is empty or missing. Correct storageUri, or upload the model first.")
        if (total := sum(file.size_bytes for file in files)) > _SIZE_BYTES_MAX:
            raise DataRejected(f"{uri}: {total} bytes; at most {_SIZE_BYTES_MAX} are served here.")
        return files

    def _download(self, client: Minio, *, bucket: str, prefix: str, files: list[StoredFile], folder: Path) -> None:
        """Into a folder beside, then renamed: a crash never leaves half a model under a model's name."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._root, prefix=".half.") as temporary:
            content = Path(temporary) / "model"
            content.mkdir()
            for file in files:
                client.fget_object(bucket, prefix + file.path, str(content / file.path))
            if folder.is_dir() and not is_intact(folder, files):
                # rename(2) replaces no folder with files in it. The damaged one goes with the temporary folder.
                folder.rename(Path(temporary) / "damaged")
            try:
                content.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another revision was first, with the same content
                    raise

    def _client(self) -> Minio:
        endpoint = self._read("RATCHET_S3_ENDPOINT")
        http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            retries=urllib3.Retry(total=_NUM_TRIES, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
            cert_reqs="CERT_REQUIRED",
            ca_certs=certifi.where(),
        )
        return Minio(
            endpoint.partition("://")[2].rstrip("/"),
            access_key=self._read("RATCHET_S3_ACCESS_KEY"),
            secret_key=self._read("RATCHET_S3_SECRET_KEY"),
            region=self._read("RATCHET_S3_REGION") or None,
            secure=endpoint.startswith("https://"),
            http_client=http,
        )

    def _read(self, key: str) -> str:
        try:
            return (self._secret / key).read_text().strip()
        except FileNotFoundError:
            raise Unavailable(f"{self._secret}: no key {key}, so S3 cannot be reached. Run `ratchet up`.") from None


def digest_of_model(uri: str, files: Iterable[StoredFile]) -> str:
    """The name of a model's folder: same URI and same content, same name."""
    return hashlib.sha256(json.dumps([uri, sorted(files)]).encode()).hexdigest()[:32]


def is_intact(folder: Path, files: Iterable[StoredFile]) -> bool:
    """Whether a folder holds these files and no other, with the sizes and the MD5 sums that the object store knows.
    Uploads in parts have an ETag that is no such sum: of those the size alone is compared."""
    files = tuple(files)
    if {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} != {f.path for f in files}:
        return False
    for file in files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return False
        if _MD5.fullmatch(file.etag):
            with path.open("rb") as content:
                if hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != file.etag:
                    return False
    return True


def check_path(path: str, uri: str) -> str:
    """The path of an object inside its model; DataRejected when it would lead out of the model's folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise DataRejected(f"{uri}: object {path!r} would be written outside the model's folder. Remove that object.")
    return path
