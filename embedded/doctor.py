"""What is missing or wrong on this machine and with these settings, and the command that mends it."""

import http.client
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.host.processes import is_port_free
from embedded.gateway import envoy_binary
from embedded.object_store import weed_binary
from embedded.ports import StackPorts
from embedded.repositories import GIT_OLDEST, INSTALL_GIT
from embedded.task_runtime import require_container_engine
from ratchet.core.errors import SettingsError
from ratchet.settings import Settings, child_env, variable_of

_PYTHON = (3, 11)
_DISK_BYTES_MIN = 2 * 1024**3
"""The object store turns read-only at 1 % free; a demo writes a few hundred MiB."""
_TIMEOUT_S = 5.0
_ENDPOINTS = {
    "s3_endpoint": "/",
    "mlflow_endpoint": "/health",
    "kfp_endpoint": "/apis/v2beta1/healthz",
    "gateway_endpoint": "/",
    "sensor_endpoint": "/healthz",
    "guard_endpoint": "/healthz",
}
_TOKENS = (
    ("KFP token", "kfp", "/apis/v2beta1/runs?page_size=1"),
    ("MLflow token", "mlflow", "/api/2.0/mlflow/experiments/get?experiment_id=0"),
    ("sensor token", "sensor", "/status"),
    ("guard token", "guard", "/status"),
)
"""Name, prefix of the two settings, and a path that answers 200 with the token and 401 without."""
_INSTALL = "make setup"

_LOOK = "ratchet up; ratchet status"


class Finding(BaseModel):
    """One thing that was checked."""

    model_config = ConfigDict(frozen=True)

    name: str
    is_fine: bool
    detail: str
    fix: str = ""
    """A command, or what to do; empty when it is fine."""


def _finding(name: str, *, is_fine: bool, detail: str, fix: str) -> Finding:
    """The fix is said only when there is something to mend."""
    return Finding(name=name, is_fine=is_fine, detail=detail, fix="" if is_fine else fix)


def examine_machine(state_dir: Path, *, lock_file: Path, is_running: bool) -> list[Finding]:
    """What every command needs: programs, packages, disk, ports."""
    findings = [_system(), _python(), _git(), *_binaries(), _packages(lock_file), _disk(state_dir)]
    return findings if is_running else [*findings, _ports()]


def examine_settings(settings: Settings, *, overridden: tuple[str, ...]) -> list[Finding]:
    """Each endpoint and each credential, tried out."""
    findings = [_endpoint(settings, name, path) for name, path in _ENDPOINTS.items()]
    findings += [_s3_credential(settings), *(_token(settings, *each) for each in _TOKENS)]
    if settings.task_runtime == "oci":
        findings.append(examine_container_engine())
    return [_with_override(finding, overridden) for finding in findings]


def _system() -> Finding:
    """Servers that die with their parent, and proof of whose a process is, are Linux's (prctl, /proc)."""
    is_fine = sys.platform == "linux"
    return _finding("system", is_fine=is_fine, detail=sys.platform, fix="Use Linux, or a Linux container")


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    is_fine = sys.version_info[:2] == _PYTHON
    return Finding(
        name="python", is_fine=is_fine, detail=found, fix="" if is_fine else "Install Python 3.11, `make setup`"
    )


def _git() -> Finding:
    path = shutil.which("git")
    if not path:
        return Finding(name="git", is_fine=False, detail="not found", fix=INSTALL_GIT)
    version = _output_of([path, "--version"]).removeprefix("git version ")
    is_fine = tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= GIT_OLDEST
    return _finding("git", is_fine=is_fine, detail=version, fix=INSTALL_GIT)


def _binaries() -> Iterator[Finding]:
    for name, path in {"weed (object store)": weed_binary(), "envoy (gateway)": envoy_binary()}.items():
        is_fine = os.access(path, os.X_OK)
        yield _finding(name, is_fine=is_fine, detail="installed" if is_fine else f"{path} is missing", fix=_INSTALL)


def examine_container_engine() -> Finding:
    try:
        engine = require_container_engine()
    except SettingsError as error:
        why, _, fix = str(error).partition(". ")
        return _finding("container engine", is_fine=False, detail=why, fix=fix)
    return _finding("container engine", is_fine=True, detail=engine.program, fix="")


def _packages(lock_file: Path) -> Finding:
    """Installed versions against the lock; without one (a cluster's image) there is nothing to compare."""
    if not lock_file.is_file():
        return Finding(name="packages", is_fine=True, detail=f"{lock_file.name} not found: not compared")
    pins = [line.split("==", 1) for line in lock_file.read_text().splitlines() if "==" in line and line[0].isalnum()]
    installed = {name: _version(name) for name, _ in pins}
    wrong = [
        f"{name} {installed[name] or 'missing'} (locked: {pin})"
        for name, pin in pins
        if not _same(installed[name], pin)
    ]
    detail = "; ".join(wrong[:5]) + (" …" if len(wrong) > 5 else "") if wrong else f"{len(pins)} as locked"
    return _finding("packages", is_fine=not wrong, detail=detail, fix=_INSTALL)


def _same(found: str, pin: str) -> bool:
    """A build's label (`2.13.0+cpu`) does not matter, nor does a marker behind the pin."""
    return found.partition("+")[0] == pin.partition(";")[0].split()[0].partition("+")[0]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name.partition("[")[0].strip())
    except importlib.metadata.PackageNotFoundError:
        return ""


def _disk(state_dir: Path) -> Finding:
    place = next(folder for folder in (state_dir, *state_dir.absolute().parents) if folder.is_dir())
    usage = shutil.disk_usage(place)
    is_fine = usage.free >= max(_DISK_BYTES_MIN, usage.total // 50)
    detail = f"{usage.free / 1024**3:.1f} GiB free in {place}"
    return Finding(
        name="disk", is_fine=is_fine, detail=detail, fix="" if is_fine else "Free some space: 2 GiB and 2 % are needed"
    )


def _ports() -> Finding:
    taken = [str(port) for _, port in StackPorts() if port and not is_port_free(port)]
    detail = f"taken: {', '.join(taken)}; `ratchet up` chooses other ports" if taken else "the usual ports are free"
    return Finding(name="ports", is_fine=True, detail=detail)


def _endpoint(settings: Settings, name: str, path: str) -> Finding:
    variable, url = variable_of(name), getattr(settings, name)
    if not url:
        return Finding(name=variable, is_fine=False, detail="not set", fix="ratchet up")
    status, problem = _get(url, path)
    is_fine = not problem and status < http.client.INTERNAL_SERVER_ERROR
    detail = url if is_fine else f"{url}: {problem or f'answers {status}'}"
    return _finding(variable, is_fine=is_fine, detail=detail, fix=_LOOK)


def _s3_credential(settings: Settings) -> Finding:
    """The server's answer tells the wrong key from the wrong secret."""
    from minio.error import S3Error
    from urllib3.exceptions import HTTPError

    name = "S3 credential"
    if not settings.s3_endpoint:
        return Finding(name=name, is_fine=False, detail="not tried: its endpoint is not set", fix="ratchet up")
    wrong = {
        "InvalidAccessKeyId": variable_of("s3_access_key"),
        "SignatureDoesNotMatch": variable_of("s3_secret_key"),
    }
    try:
        _list_buckets(settings)
    except S3Error as error:
        variable = wrong.get(error.code or "")
        detail = f"{settings.s3_endpoint} refuses {variable}" if variable else f"{error.code}: {error.message}"
        fix = f"unset {variable}, or correct it in the profile" if variable else "Allow this identity to list buckets"
        return Finding(name=name, is_fine=False, detail=detail, fix=fix)
    except (HTTPError, OSError, ValueError) as error:
        return Finding(
            name=name, is_fine=False, detail=f"not tried: {type(error).__name__}", fix="ratchet up; ratchet status"
        )
    return Finding(name=name, is_fine=True, detail="accepted")


def _list_buckets(settings: Settings) -> None:
    import urllib3
    from minio import Minio

    parts = urlsplit(settings.s3_endpoint)
    Minio(
        parts.netloc,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secure=parts.scheme == "https",
        http_client=urllib3.PoolManager(timeout=_TIMEOUT_S, retries=False),
    ).list_buckets()


def _token(settings: Settings, name: str, server: str, path: str) -> Finding:
    variable, endpoint = variable_of(f"{server}_token"), getattr(settings, f"{server}_endpoint")
    if not endpoint:
        return Finding(name=name, is_fine=False, detail="not tried: its endpoint is not set", fix="ratchet up")
    token = getattr(settings, f"{server}_token")
    status, problem = _get(endpoint, path, token=token.get_secret_value())
    if problem:
        return Finding(name=name, is_fine=False, detail=f"not tried: {problem}", fix=_LOOK)
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        fix = f"unset {variable}, or correct it in the profile"
        return Finding(name=name, is_fine=False, detail=f"{endpoint} refuses {variable}", fix=fix)
    is_fine = status == http.client.OK
    detail = "accepted" if is_fine else f"{endpoint}{path} answers {status}"
    return _finding(name, is_fine=is_fine, detail=detail, fix=_LOOK)


def _with_override(finding: Finding, overridden: tuple[str, ...]) -> Finding:
    """A stale variable in the shell is the commonest reason why a running server is not found."""
    if finding.is_fine or finding.name not in overridden:
        return finding
    return finding.model_copy(update={"fix": f"unset {finding.name} (the environment overrides the profile)"})


def _get(url: str, path: str, *, token: str = "") -> tuple[int, str]:
    """Status and "", or 0 and what went wrong."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return 0, "not an http(s) URL"
    kinds: dict[str, Callable[..., http.client.HTTPConnection]] = {
        "http": http.client.HTTPConnection,
        "https": http.client.HTTPSConnection,
    }
    if parts.scheme not in kinds or not parts.hostname:
        return 0, "not an http(s) URL"
    try:
        connection = kinds[parts.scheme](parts.netloc, timeout=_TIMEOUT_S)
        connection.request(
            "GET", parts.path.rstrip("/") + path, headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        return connection.getresponse().status, ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return 0, str(error) or type(error).__name__


def _output_of(command: list[str]) -> str:
    run = subprocess.run(command, env=child_env({}), capture_output=True, text=True, timeout=10, check=False)
    return run.stdout.strip()
