"""Points at which a test kills, pauses or disturbs a process, named by the call of a port that is under way there.

`<port>.<method>[(<pattern>)]:before|after[:nth]`: before or after each call, or the nth alone, of those that have an
argument (text, number or None) that the shell pattern matches. For example `journal.append_claim:after`,
`services.set_traffic(10):before`, `objects.put_if_absent(*.jsonl):after:2`.
"""

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

CLAIM_POINTS = (
    *("journal.append_claim:before", "journal.append_claim:after", "journal.may_submit:before"),
    *("pipelines.submit:before", "pipelines.submit:after", "journal.record_run:before", "journal.record_run:after"),
)
"""Of a tick that starts a run, in order."""
When = Literal["before", "after"]
_POINT = re.compile(rf"(\w+)\.(\w+)(?:\((.*)\))?:({'|'.join(get_args(When))})(?::(\d+))?")


@dataclass(frozen=True)
class Call:
    """A call of a port that begins, or that has ended well."""

    port: str
    method: str
    when: When
    arguments: tuple[object, ...]


Tell = Callable[[Call], None]


class Watched:
    """A port, or a store, that tells of each of its calls."""

    def __init__(self, name: str, port: Any, tell: Tell) -> None:
        self._name, self._port, self._tell = name, port, tell

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not callable(method):
            return method

        def told(*args: Any, **kwargs: Any) -> Any:
            arguments = (*args, *kwargs.values())
            self._tell(Call(self._name, name, "before", arguments))
            answer = method(*args, **kwargs)
            self._tell(Call(self._name, name, "after", arguments))
            return answer

        return told


def at(point: str, act: Callable[[], None]) -> Tell:
    """Do this at that point."""
    found = _POINT.fullmatch(point)
    assert found, f"{point!r} is not a point: write <port>.<method>[(<pattern>)]:before|after[:nth]"
    port, method, pattern, when, nth = found.groups()
    num_met = 0

    def tell(call: Call) -> None:
        nonlocal num_met
        if (call.port, call.method, call.when) == (port, method, when) and _matches(call, pattern):
            num_met += 1
            if nth is None or num_met == int(nth):
                act()

    return tell


def signal_at(point: str, number: signal.Signals = signal.SIGKILL) -> Tell:
    """This process gets the signal there: no handler, no cleanup, no flush. "": never."""
    return at(point, lambda: os.kill(os.getpid(), number)) if point else tell_nobody


def tell_nobody(call: Call) -> None:
    """Nothing happens anywhere."""


def file_name_of(point: str) -> str:
    """The point as a name of a task, a file or a service."""
    return re.sub(r"[^a-z0-9]+", "-", point.lower()).strip("-")


def _matches(call: Call, pattern: str | None) -> bool:
    words = [str(each) for each in call.arguments if each is None or isinstance(each, str | int)]
    return pattern is None or any(fnmatchcase(word, pattern) for word in words)
