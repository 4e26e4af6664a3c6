"""Which requests are tried again, and when: the one rule of our HTTP client, and of clients that have none."""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
BUSY = frozenset({429, 502, 503, 504})


class Response(NamedTuple):
    """A whole answer of any status."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes
    where: str
    """`GET http://host/path`, for errors."""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """ValueError when it is none."""
        return json.loads(self.body)


class Request(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str] | None = None
    json: Any = None
    form: Mapping[str, str] | None = None
    content: str | bytes | None = None
    headers: Mapping[str, str] = {}
    is_repeatable: bool | None = None
    """Whether doing it twice is as good as once; None = by its method."""


@dataclass(frozen=True)
class Retry:
    """How often, and what for, a request is tried again."""

    num_tries: int = 3
    wait_s: float = 0.2
    """After the first try; doubles with each, less up to a half by chance, so that callers do not come back at once."""
    statuses: frozenset[int] = BUSY
    methods: frozenset[str] = IDEMPOTENT
    wants: Callable[[Response], bool] = field(default=lambda _: False)
    """Other answers that are worth another try."""

    def waits_s(self) -> Iterator[float]:
        """Between tries: one less than these."""
        for number in range(self.num_tries - 1):
            yield self.wait_s * 2**number * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def is_due(self, request: Request, found: "Response | Failure") -> bool:
        is_repeatable = request.method in self.methods if request.is_repeatable is None else request.is_repeatable
        if isinstance(found, Failure):
            return found.is_unsent or (is_repeatable and not found.is_final)
        return is_repeatable and (found.status in self.statuses or self.wants(found))


ONCE = Retry(num_tries=1)


class Failure(NamedTuple):
    """No answer, or none that is whole."""

    error: Exception
    is_unsent: bool = False
    """The connection was not made: the server has seen nothing."""
    is_final: bool = False
    """Another try fails the same way."""


def asked_wait_s(found: "Response | Failure") -> float:
    """`Retry-After` in seconds; as a date it is left aside."""
    asked = found.headers.get("retry-after", "") if isinstance(found, Response) else ""
    return float(asked) if re.fullmatch(r"[0-9]{1,6}", asked) else 0.0
