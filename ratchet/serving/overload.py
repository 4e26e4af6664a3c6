"""When a request is refused because too many wait before it: better 429 at once than an answer too late for anybody.

How long a request would wait is told by Little's law: those under way, times the time between two answers.
"""

import math

WAIT_S_MAX = 2.0
"""A caller who sees more than this has mostly given up, or asks again; the gateway itself waits for 60 s."""
_ALWAYS_TAKEN = 16
"""Requests under way that are never too many: of the slowest models too, and before anything is known of the time."""
_WEIGHT = 0.1
"""Of the latest answer in the mean: some twenty answers tell of a change."""


class Overloaded(Exception):
    """The request is refused; its body was not looked at."""

    def __init__(self, *, wait_s: float, num_under_way: int, wait_s_max: float) -> None:
        self.retry_after_s = max(1, math.ceil(wait_s - wait_s_max))
        """When those that wait now will have gone."""
        super().__init__(
            f"{num_under_way} requests are under way and a new one would wait {wait_s:.1f} s; the limit is "
            f"{wait_s_max:g} s. Try again in {self.retry_after_s} s."
        )


class RequestsUnderWay:
    """Of one model server. Times are of any steady clock, in seconds."""

    def __init__(self, *, wait_s_max: float = WAIT_S_MAX) -> None:
        self._wait_s_max = wait_s_max
        self._num = 0
        self._answer_s = 0.0
        self._answered_at = -math.inf

    @property
    def num(self) -> int:
        return self._num

    @property
    def wait_s(self) -> float:
        """Of a request that came now."""
        return self._num * self._answer_s

    def begin(self) -> None:
        """Overloaded when the request may not begin."""
        if self._num >= _ALWAYS_TAKEN and self.wait_s > self._wait_s_max:
            raise Overloaded(wait_s=self.wait_s, num_under_way=self._num, wait_s_max=self._wait_s_max)
        self._num += 1

    def end(self, *, began_at: float, now: float) -> None:
        """It has its answer, or its caller has gone."""
        self._num -= 1
        # The server was idle before `began_at`, or worked on the answers before this one.
        took_s = max(0.0, now - max(began_at, self._answered_at))
        self._answer_s = took_s if math.isinf(self._answered_at) else _mean(self._answer_s, took_s)
        self._answered_at = now


def _mean(before_s: float, latest_s: float) -> float:
    return before_s + _WEIGHT * (latest_s - before_s)
