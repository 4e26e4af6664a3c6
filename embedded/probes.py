"""Ask a server whether it is ready."""

import http.client
import socket
from pathlib import Path

from embedded.services import ReadyCheck


def why_not_ready(check: ReadyCheck, *, timeout_s: float = 5.0) -> str:
    """One GET: empty when it answered 200, else what happened instead."""
    if check.unix_socket:
        connection: http.client.HTTPConnection = _UnixConnection(check.unix_socket, timeout_s=timeout_s)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", check.port, timeout=timeout_s)
    try:
        connection.request("GET", check.path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{check.url}: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"{check.url} answers {status}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
