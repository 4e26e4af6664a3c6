"""Users who ask the gateway 20 times a second, on connections of their own, and remember what they got and when."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_TIMEOUT_S = 20.0


class Answer(NamedTuple):
    """One request. Times are of `time.monotonic`."""

    asked_at: float
    answered_at: float
    status: int
    """0 for a connection that failed."""
    detail: str = ""

    @property
    def is_fine(self) -> bool:
        return self.status == 200


class SteadyLoad:
    """Open loop: a request that hangs delays no other, so an outage costs as many as were asked in it."""

    def __init__(self, gateway: str, path: str, body: object, *, rate: float = 20.0, num_threads: int = 12) -> None:
        self._address = gateway.removeprefix("http://")
        self._path, self._body = path, json.dumps(body).encode()
        self._gap_s = 1 / rate
        self._answers: list[Answer] = []
        self._lock = threading.Lock()
        self._next_at = 0.0
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, daemon=True) for _ in range(num_threads)]

    @contextmanager
    def running(self) -> Iterator["SteadyLoad"]:
        self._next_at = time.monotonic()
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in self._threads:
                thread.join(_TIMEOUT_S + 1)

    def answers(self, *, since: float = 0.0, until: float = float("inf")) -> list[Answer]:
        with self._lock:
            return [answer for answer in self._answers if since <= answer.asked_at < until]

    def failed(self, *, since: float = 0.0, until: float = float("inf")) -> list[Answer]:
        return [answer for answer in self.answers(since=since, until=until) if not answer.is_fine]

    def _ask_on(self) -> None:
        while not self._is_over.is_set():
            with self._lock:
                at = self._next_at = max(self._next_at + self._gap_s, time.monotonic() - 1.0)
            if self._is_over.wait(max(at - time.monotonic(), 0.0)):
                return
            answer = self._ask()
            with self._lock:
                self._answers.append(answer)

    def _ask(self) -> Answer:
        asked_at = time.monotonic()
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", self._path, self._body, {"content-type": "application/json"})
            response = connection.getresponse()
            said = response.read()
            detail = "" if response.status == http.client.OK else said.decode(errors="replace")[:200]
            return Answer(asked_at, time.monotonic(), response.status, detail)
        except (OSError, http.client.HTTPException) as error:
            return Answer(asked_at, time.monotonic(), 0, repr(error))
        finally:
            connection.close()


def outage_s(failed: list[Answer]) -> float:
    """From the first request that failed to the last; 0 when none did."""
    return max(a.asked_at for a in failed) - min(a.asked_at for a in failed) if failed else 0.0
