"""Reading from Google Cloud Storage, for importers of `gs://` addresses. kfp brings the library along.

It is asked only where credentials or an emulator are named in the server's environment: without, every call would look
for Google's metadata server first.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from embedded.control_plane.engine.roots import bucket_and_key
from embedded.control_plane.errors import DataRejected, NotFound, Unavailable
from embedded.control_plane.host.child_env import child_env

_VARIABLES = ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")
_CALL_S = 60.0
"""Of one request; with its retries, a download gives up after twice as long."""


def is_gs(uri: str) -> bool:
    return uri.startswith("gs://")


def check_gs_access(uri: str) -> None:
    """DataRejected when nothing in the environment says how Google Cloud Storage is reached."""
    if not any(child_env({}).get(name) for name in _VARIABLES):
        raise DataRejected(
            f"{uri}: this backend reads gs:// only if {' or '.join(_VARIABLES)} is set where it was started. Set one "
            "and start it again, or copy the data to s3:// and import that."
        )


def download_gs(uri: str, path: Path) -> None:
    """One object, or all below a prefix as a folder. NotFound or Unavailable names the address."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.retry import DEFAULT_RETRY

    check_gs_access(uri)
    bucket, key = bucket_and_key(uri)
    retry = DEFAULT_RETRY.with_timeout(2 * _CALL_S)
    try:
        client = _client()
        prefix = key.rstrip("/") + "/"
        blobs = [
            blob
            for blob in client.list_blobs(bucket, prefix=prefix, timeout=_CALL_S, retry=retry)
            if not blob.name.endswith("/")
        ]
        targets = {path / _below(uri, blob.name, prefix): blob for blob in blobs}
        for target, blob in (targets or {path: client.bucket(bucket).blob(key)}).items():
            target.parent.mkdir(parents=True, exist_ok=True)
            blob.download_to_filename(str(target), timeout=_CALL_S, retry=retry)
    except (GoogleAPIError, GoogleAuthError) as error:
        raise NotFound(f"{uri}: {type(error).__name__}: {error}. Check the address and the credentials.") from None
    except OSError as error:
        raise Unavailable(f"{uri}: {error}. Check that Google Cloud Storage can be reached from here.") from None


def _client() -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    if child_env({}).get("STORAGE_EMULATOR_HOST"):
        return storage.Client(project="emulator", credentials=AnonymousCredentials())
    return storage.Client()


def _below(uri: str, name: str, prefix: str) -> str:
    below = PurePosixPath(name.removeprefix(prefix))
    if ".." in below.parts or below.is_absolute():
        raise DataRejected(f"{uri}: the object {name!r} would be written outside. Remove that object.")
    return str(below)
