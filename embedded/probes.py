"""Ask a server whether it is ready."""

import http.client
import json
import socket
from pathlib import Path
from typing import NamedTuple

from embedded.services import ReadyCheck

_SAID_CHARS_MAX = 4096


class Probe(NamedTuple):
    """What one question came to."""

    problem: str
    """Empty when it was answered 200, else what happened instead."""
    has_answered: bool = False
    """Whether the server said anything at all."""


def why_not_ready(check: ReadyCheck, *, timeout_s: float = 5.0) -> str:
    """One GET: empty when it answered 200, else what happened instead."""
    return probe(check, timeout_s=timeout_s).problem


def probe(check: ReadyCheck, *, timeout_s: float = 5.0) -> Probe:
    """One GET. A server that is not well may say why: the beginning of its answer is part of the problem."""
    if check.unix_socket:
        connection: http.client.HTTPConnection = _UnixConnection(check.unix_socket, timeout_s=timeout_s)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", check.port, timeout=timeout_s)
    try:
        connection.request("GET", check.path)
        answer = connection.getresponse()
        said = answer.read(_SAID_CHARS_MAX).decode(errors="replace") if answer.status != http.client.OK else ""
    except (OSError, http.client.HTTPException) as error:
        return Probe(f"{check.url}: {error or type(error).__name__}")
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return Probe("", has_answered=True)
    return Probe(f"{check.url} answers {answer.status}{_reason_in(said)}", has_answered=True)


def _reason_in(said: str) -> str:
    """`problem` of an answer in JSON, as our own servers give it; a stranger's page says nothing in one line."""
    try:
        problem = json.loads(said).get("problem", "")
    except (ValueError, AttributeError):
        return ""
    return f" ({problem})" if problem else ""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
