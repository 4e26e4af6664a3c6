"""The object store attacked by another local user and by a web page: every door but S3 is shut, and S3 asks for a key.

The strangers know all port numbers, every call that deletes or reads, and bring a certificate of their own.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from minio import Minio

from embedded.credentials import load_or_make_credentials
from embedded.layout import Layout
from embedded.leftovers import list_stack_processes
from embedded.ports import StackPorts
from embedded.store_identity import render_identity
from ratchet.settings import Settings

BUCKET, KEY, BODY = "treasure", "map.txt", b"x marks the spot"
HOSTS = ("", "127.0.0.1", "localhost", "evil.example")
HTTP_ATTACKS = (
    ("GET", f"/col/delete?collection={BUCKET}"),
    ("POST", f"/col/delete?collection={BUCKET}"),
    ("GET", "/dir/lookup?read=yes&volumeId=1&fileId=1,01637037d6"),
    ("GET", "/dir/assign"),
    ("GET", "/dir/status"),
    ("GET", "/vol/status"),
    ("GET", "/vol/vacuum"),
    ("GET", "/status"),
    ("GET", "/ui/index.html"),
    ("GET", "/1,01637037d6"),
    ("GET", f"/buckets/{BUCKET}/{KEY}"),
    ("PUT", f"/buckets/{BUCKET}/planted"),
    ("DELETE", f"/buckets/{BUCKET}/{KEY}"),
    ("DELETE", f"/buckets/{BUCKET}?recursive=true"),
    ("GET", "/admin"),
    ("GET", "/api/s3/buckets"),
    ("GET", "/debug/pprof/"),
    ("GET", "/metrics"),
)


def text_field(number: int, value: str) -> bytes:
    """One short string of a protobuf message."""
    return bytes([number << 3 | 2, len(value)]) + value.encode()


GRPC_ATTACKS = (
    ("/filer_pb.SeaweedFiler/LookupDirectoryEntry", text_field(1, f"/buckets/{BUCKET}") + text_field(2, KEY)),
    ("/filer_pb.SeaweedFiler/DeleteEntry", text_field(1, f"/buckets/{BUCKET}") + text_field(2, KEY) + b"\x20\x01"),
    ("/filer_pb.SeaweedFiler/DeleteCollection", text_field(1, BUCKET)),
    ("/master_pb.Seaweed/CollectionDelete", text_field(1, BUCKET)),
    ("/master_pb.Seaweed/VolumeList", b""),
    ("/volume_server_pb.VolumeServer/DeleteCollection", text_field(1, BUCKET)),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b""),
)


class Store(NamedTuple):
    s3: Minio
    ports: StackPorts
    listening: frozenset[int]
    sockets: frozenset[str]
    identity: Path


@pytest.fixture
def store(s3_settings: Settings) -> Iterator[Store]:
    """A running store with a treasure, which is still there, the same and alone, when the test is over."""
    layout = Layout(state_dir=s3_settings.state_dir)
    pids = [stat.pid for stat in list_stack_processes(load_or_make_credentials(layout.credentials).stack_id)]
    s3 = Minio(
        s3_settings.s3_endpoint.removeprefix("http://"),
        access_key=s3_settings.s3_access_key,
        secret_key=s3_settings.s3_secret_key.get_secret_value(),
        secure=False,
    )
    if not s3.bucket_exists(BUCKET):
        s3.make_bucket(BUCKET)
    s3.put_object(BUCKET, KEY, BytesIO(BODY), len(BODY))
    yield Store(
        s3=s3,
        ports=StackPorts.model_validate_json(layout.ports.read_text()),
        listening=frozenset(listening_ports(pids)),
        sockets=frozenset(unix_sockets(pids)),
        identity=layout.object_store / "identity.pem",
    )
    assert [found.object_name for found in s3.list_objects(BUCKET, recursive=True)] == [KEY]
    assert s3.get_object(BUCKET, KEY).data == BODY


def open_sockets(pids: list[int]) -> set[str]:
    links = {str(link.readlink()) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}


def listening_ports(pids: list[int]) -> Iterator[int]:
    """Source: proc(5), /proc/net/tcp: local address, state 0A (listening), inode."""
    ours = open_sockets(pids)
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in (line.split() for line in Path(table).read_text().splitlines()[1:]):
            if row[3] == "0A" and row[9] in ours:
                yield int(row[1].rpartition(":")[2], 16)


def unix_sockets(pids: list[int]) -> Iterator[str]:
    ours = open_sockets(pids)
    for row in (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]):
        if row[6] in ours and len(row) > 7:
            yield row[7]


def answer_of(connection: http.client.HTTPConnection, method: str, path: str, host: str) -> tuple[int, bytes]:
    """Status and body; status 0 when the server hangs up."""
    headers = {"Host": host, "Origin": f"http://{host}"} if host else {}
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def plain(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=5)


def encrypted(port: int, certificate: Path | None) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)


def call(target: str, method: str, request: bytes, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_retries", 0))
    channel = (
        grpc.secure_channel(target, credentials, options) if credentials else grpc.insecure_channel(target, options)
    )
    with channel:
        send = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        try:
            send(request, timeout=5)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def with_certificate(pem: bytes) -> grpc.ChannelCredentials:
    """As client; the server's certificate is looked at with trust in the same one."""
    return grpc.ssl_channel_credentials(root_certificates=pem, private_key=pem, certificate_chain=pem)


def grpc_ports(store: Store) -> list[int]:
    return [port for name, port in store.ports if name.endswith("_grpc")]


def test_the_attacks_would_succeed_with_the_identity(store: Store) -> None:
    """Else every test below could pass for a wrong reason."""
    status, _ = answer_of(encrypted(store.ports.weed_master, store.identity), "GET", "/cluster/status", "")
    assert status == 200
    target, credentials = f"127.0.0.1:{store.ports.weed_filer_grpc}", with_certificate(store.identity.read_bytes())
    assert call(target, *GRPC_ATTACKS[0], credentials) is grpc.StatusCode.OK


def test_the_store_listens_where_we_know(store: Store) -> None:
    assert store.listening == set(store.ports.of_seaweed())
    folder_of = {path: Path(path).parent for path in store.sockets}
    assert all(
        (folder == Path("/tmp") and "-grpc-" in path) or folder.stat().st_mode & 0o077 == 0
        for path, folder in folder_of.items()
    ), f"plain HTTP speaks on private sockets only: {sorted(folder_of)}"


def test_a_web_page_and_a_local_user_get_nothing_by_http(store: Store) -> None:
    for port in store.listening - {store.ports.s3}:
        for method, path in HTTP_ATTACKS:
            for host in HOSTS:
                status, body = answer_of(plain(port), method, path, host)
                assert status in (0, 400), f"{method} {path} with Host {host!r} on port {port}: {status}"
                assert BODY not in body


def test_tls_without_our_identity_gets_nothing(store: Store, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_text(render_identity())
    for port in store.listening - {store.ports.s3, *grpc_ports(store)}:
        for certificate in (None, own):
            for method, path in HTTP_ATTACKS[:4]:
                assert answer_of(encrypted(port, certificate), method, path, "")[0] == 0, f"{path} on port {port}"


def test_grpc_without_our_identity_gets_nothing(store: Store) -> None:
    """On every port and on the sockets that SeaweedFS makes beside them; a stranger may bring a certificate, and trust
    ours."""
    ours, own = store.identity.read_bytes(), render_identity().encode()
    certificate = ours[ours.index(b"-----BEGIN CERTIFICATE") :]
    strangers = (
        None,
        grpc.ssl_channel_credentials(root_certificates=certificate),
        grpc.ssl_channel_credentials(root_certificates=certificate, private_key=own, certificate_chain=own),
    )
    targets = [f"127.0.0.1:{port}" for port in grpc_ports(store)]
    targets += [f"unix:{path}" for path in store.sockets if "-grpc-" in path]
    assert len(targets) == 10
    for target in targets:
        for credentials in strangers:
            for method, request in GRPC_ATTACKS:
                code = call(target, method, request, credentials)
                assert code is grpc.StatusCode.UNAVAILABLE, f"{method} at {target}: {code}"


def test_s3_answers_nobody_without_a_key(store: Store) -> None:
    for method, path in (
        *(("GET", "/"), ("GET", f"/{BUCKET}"), ("GET", f"/{BUCKET}/{KEY}"), ("PUT", f"/{BUCKET}/planted")),
        *(("DELETE", f"/{BUCKET}/{KEY}"), ("DELETE", f"/{BUCKET}"), ("PUT", f"/{BUCKET}?policy"), ("PUT", "/planted")),
        *(("POST", "/?Action=ListUsers"), ("POST", "/?Action=CreateUser&UserName=eve"), *HTTP_ATTACKS),
    ):
        if path == "/status":
            continue
        for host in HOSTS:
            status, body = answer_of(plain(store.ports.s3), method, path, host)
            assert status >= 400, f"{method} {path} with Host {host!r}: {status}"
            assert BODY not in body


def test_half_a_request_does_not_open_a_port(store: Store) -> None:
    for port in store.listening - {store.ports.s3}:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
            connection.settimeout(5)
            with suppress(ConnectionError):
                assert b"HTTP/1.1 400" in connection.recv(4096) or not connection.recv(4096)
