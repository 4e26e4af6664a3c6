"""A deadline that holds for a request as a whole.

httpx limits each read by itself: a server that sends one byte every few seconds would hold its caller for hours, in the
headers as in the body. Here each read, write and connect gets the time that is left. What remains unlimited is the
resolver of host names (its own limit, 10 s by default); a name with several addresses may take the limit for each.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_ends_at_s: ContextVar[float] = ContextVar("ends_at_s", default=float("inf"))
_LEFT_S_MIN = 0.001
"""Sockets take 0 for "do not wait at all", which is another error than a timeout."""
_WRITE_BYTES = 1 << 16
"""A reader that takes a byte at a time is noticed after this much."""


@contextmanager
def ending_at(moment_s: float) -> Iterator[None]:
    """`moment_s`: of time.monotonic(). Holds for the requests that this thread makes inside."""
    token = _ends_at_s.set(moment_s)
    try:
        yield
    finally:
        _ends_at_s.reset(token)


def with_deadline(transport: Any) -> Any:
    """The same httpx.HTTPTransport, whose connections end at the deadline."""
    # httpcore takes a network backend, but httpx offers no way to give it one: hence the private names. The contract
    # test with a server that trickles its headers fails should they change.
    pool = transport._pool
    pool._network_backend = _Backend(pool._network_backend)
    return transport


def _left_s(timeout_s: float | None) -> float:
    left_s = max(_ends_at_s.get() - time.monotonic(), _LEFT_S_MIN)
    return left_s if timeout_s is None else min(left_s, timeout_s)


class _Backend:
    """httpcore.NetworkBackend."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> "_Stream":
        return _Stream(self._inner.connect_tcp(host, port, timeout=_left_s(timeout), **options))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> "_Stream":
        return _Stream(self._inner.connect_unix_socket(path, timeout=_left_s(timeout), **options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream:
    """httpcore.NetworkStream."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        received: bytes = self._inner.read(max_bytes, timeout=_left_s(timeout))
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES):
            self._inner.write(buffer[start : start + _WRITE_BYTES], timeout=_left_s(timeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout=_left_s(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()
