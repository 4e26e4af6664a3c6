"""Clients that cost less than a server: requests made beforehand, answers counted by their frames.

Closed loop: each of C clients asks again once it has its answer. Open loop: requests go out at their times.
"""

import asyncio
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW = 0, 1, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_BYTES = 1 << 30
"""The server never waits for the client to take more."""


@dataclass
class Seen:
    """What the clients of one run saw."""

    took_s: list[float] = field(default_factory=list)
    """Of right answers."""
    num_refused: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        return len(self.took_s) / self.seconds if self.seconds else 0.0

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.took_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("inf")


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, seen: Seen, on_answer: "Callable[[Client], None]") -> None:
        self._seen = seen
        self._on_answer = on_answer
        self._buffer = bytearray()
        self._sent_at = 0.0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self) -> None:
        self._sent_at = time.perf_counter()
        self.transport.write(self.request())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answer = self.take()
        if answer is None:
            return
        if answer:
            self._seen.took_s.append(time.perf_counter() - self._sent_at)
        else:
            self._seen.num_refused += 1
        self._on_answer(self)

    def request(self) -> bytes:
        raise NotImplementedError

    def take(self) -> bool | None:
        """Whether the answer is a right one; None: it has not come in full."""
        raise NotImplementedError


class HttpClient(Client):
    body: bytes

    def request(self) -> bytes:
        return self.body

    def take(self) -> bool | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._buffer[:end]).lower()
        start = head.index(b"content-length:") + len(b"content-length:")
        size = int(head[start : start + 12].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + size:
            return None
        del self._buffer[: end + 4 + size]
        return head.startswith(b"http/1.1 200")


class GrpcClient(Client):
    """HTTP/2 as far as one unary call at a time needs it."""

    body: bytes
    path: bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", 4, _WINDOW_BYTES))
        self.transport.write(_PREFACE + settings + _frame(_WINDOW, 0, 0, struct.pack(">I", _WINDOW_BYTES)))
        self._stream = -1
        self._has_data = False

    def request(self) -> bytes:
        self._stream += 2
        self._has_data = False
        message = b"\0" + struct.pack(">I", len(self.body)) + self.body
        return _frame(_HEADERS, _END_HEADERS, self._stream, _header_block(self.path)) + _frame(
            _DATA, _END_STREAM, self._stream, message
        )

    def take(self) -> bool | None:
        while len(self._buffer) >= 9:
            size = int.from_bytes(self._buffer[:3], "big")
            kind, flags, stream = self._buffer[3], self._buffer[4], int.from_bytes(self._buffer[5:9], "big")
            if len(self._buffer) < 9 + size:
                return None
            payload = bytes(self._buffer[9 : 9 + size])
            del self._buffer[: 9 + size]
            if kind == _SETTINGS and not flags & _ACK:
                self.transport.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self.transport.write(_frame(_PING, _ACK, 0, payload))
            elif stream == self._stream:
                self._has_data |= kind == _DATA and size > 0
                if flags & _END_STREAM and kind in (_DATA, _HEADERS):
                    return self._has_data  # an error has trailers alone
        return None


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _header_block(path: bytes) -> bytes:
    """HPACK without a table: each header is written out (RFC 7541, 6.2.2)."""
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers)


Make = Callable[[Seen, Callable[[Client], None]], Client]


async def closed_loop(make: Make, port: int, *, num_clients: int, seconds: float) -> Seen:
    """Each client asks again at once until the time is over."""
    loop, seen = asyncio.get_running_loop(), Seen()
    ends_at, left = 0.0, num_clients
    done = loop.create_future()

    def again(client: Client) -> None:
        nonlocal left
        if time.perf_counter() < ends_at:
            client.ask()
            return
        left -= 1
        if not left and not done.done():
            done.set_result(None)

    clients = [await _connect(make, port, seen, again) for _ in range(num_clients)]
    began = time.perf_counter()
    ends_at = began + seconds
    for client in clients:
        client.ask()
    await asyncio.wait_for(done, seconds + 60)
    seen.seconds = time.perf_counter() - began
    _close(clients)
    return seen


async def open_loop(make: Make, port: int, *, per_s: float, seconds: float, num_clients: int) -> Seen:
    """Requests go out at their times, each on a connection that has no other under way. One that finds none free is
    not sent, and counts as refused."""
    seen = Seen()
    free: list[Client] = []
    clients = [await _connect(make, port, seen, free.append) for _ in range(num_clients)]
    for client in clients:  # the server has then taken all of the connections
        client.ask()
    while len(seen.took_s) + seen.num_refused < num_clients:
        await asyncio.sleep(0.01)
    seen.took_s.clear()
    seen.num_refused = 0
    began, num_sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        for _ in range(int(passed * per_s) - num_sent):
            num_sent += 1
            if free:
                free.pop().ask()
            else:
                seen.num_refused += 1
        await asyncio.sleep(0.001)
    seen.seconds = time.perf_counter() - began
    _close(clients)
    return seen


async def _connect(make: Make, port: int, seen: Seen, on_answer: Callable[[Client], None]) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(lambda: make(seen, on_answer), "127.0.0.1", port)
    return client


def _close(clients: list[Client]) -> None:
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
