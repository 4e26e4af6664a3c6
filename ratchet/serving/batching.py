"""One pass of the model for all requests that came while it worked: the larger the load, the larger the batches.

Nobody waits for a batch to fill: one client is answered as without batching. A pass of a small model runs in the event
loop, where a thread would wait for the interpreter's lock at each of its layers; a longer one in the thread, so that
health checks are answered meanwhile.

Batches are only made of a model that has proved that an answer does not depend on its neighbours: the first passes are
computed both ways, as is one now and then later; one difference ends batching for good.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.labels.answers import Answers
from ratchet.serving.pass_times import PassTimes

log = logging.getLogger(__name__)
BUDGET_S = 0.02
"""Of one pass, by default: a request waits for the pass before its own, so for some two of these at most."""
DISTANCE_MAX = 1e-5
"""Of a probability, and of a number relative to itself, between alone and in a batch: a hundredth of what the gate
allows between served and offline, because another batch size sums in another order. 16-bit weights differ by more."""
_INLINE_S_MAX = 0.002
"""Longest pass in the event loop: a health check waits for it. A thread costs some 0.1 ms, and much more under load."""
_NUM_PROOFS = 8
"""Batches that are computed both ways at first."""
_PROVE_EVERY = 1000
"""And one in so many later: the batches cost 0.1 % more for it, at most eight passes each."""
_PROOF_REQUESTS_MAX = 8

Result = Answers | BaseException


class _Waiting(NamedTuple):
    inputs: pa.Table
    future: "asyncio.Future[Result]"


class Batcher:
    """Of one model. Its state belongs to one event loop at a time, the one that asks."""

    def __init__(
        self, answer: Callable[[pa.Table], Answers], thread: ThreadPoolExecutor, *, budget_s: float = BUDGET_S
    ) -> None:
        """budget_s: of one pass; 0: each request has a pass of its own."""
        self._pass_of = answer
        self._thread = thread
        self._budget_s = budget_s
        self._times = PassTimes()
        self._is_joint = budget_s > 0
        self._num_joint = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[_Waiting] = deque()
        self._is_busy = False

    async def answer(self, inputs: pa.Table) -> Answers:
        """The answers (B,) to a request. Raises what the model raises for it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        waiting = _Waiting(inputs, loop.create_future())
        self._waiting.append(waiting)
        if not self._is_busy:
            self._is_busy = True
            loop.call_soon(self._next)  # after all requests that this turn of the loop has read
        result = await waiting.future
        if isinstance(result, BaseException):
            raise result
        return result

    def warm_up(self, inputs: pa.Table, *, num: int) -> None:
        """Some passes without requests; the last one tells of the time. Raises what the model raises."""
        for _ in range(num):
            began_s = time.perf_counter()
            self._pass_of(inputs)
        self._times.learn(inputs.num_rows, time.perf_counter() - began_s)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """What waited in another loop ended with it."""
        self._loop = loop
        self._waiting.clear()
        self._is_busy = False

    def _next(self) -> None:
        """The next pass, if any request waits for one."""
        if not self._waiting or self._loop is None:
            self._is_busy = False
            return
        taken = [self._waiting.popleft() for _ in range(self._num_next())]
        num_passes = len(taken) + 1 if self._is_proof_due(taken) else 1
        expected_s = self._times.expected_s(sum(each.inputs.num_rows for each in taken)) * num_passes
        if expected_s <= _INLINE_S_MAX:
            self._tell(taken, self._results_of(taken))
            self._loop.call_soon(self._next)  # the turn between them reads what has come
            return
        done = self._loop.run_in_executor(self._thread, self._results_of, taken)
        done.add_done_callback(lambda future: self._after(taken, future.result()))

    def _after(self, taken: Sequence[_Waiting], results: Sequence[Result]) -> None:
        self._tell(taken, results)
        self._next()

    def _tell(self, taken: Sequence[_Waiting], results: Sequence[Result]) -> None:
        for each, result in zip(taken, results, strict=True):
            if not each.future.done():  # else its client has gone
                each.future.set_result(result)

    def _num_next(self) -> int:
        if not self._is_joint:
            return 1
        num = self._times.num_within([each.inputs.num_rows for each in self._waiting], self._budget_s)
        return min(num, _PROOF_REQUESTS_MAX) if self._is_due else num

    @property
    def _is_due(self) -> bool:
        return self._num_joint < _NUM_PROOFS or self._num_joint % _PROVE_EVERY == 0

    def _is_proof_due(self, taken: Sequence[_Waiting]) -> bool:
        return len(taken) > 1 and self._is_due

    def _results_of(self, taken: Sequence[_Waiting]) -> Sequence[Result]:
        """One for each. A batch that fails is answered one by one: a fault is that of one request alone."""
        inputs = [each.inputs for each in taken]
        if len(inputs) == 1:
            return [self._alone(inputs[0])]
        is_proof = self._is_proof_due(taken)
        self._num_joint += 1
        joint = self._together(inputs)
        if joint is not None and not is_proof:
            return joint
        alone = [self._alone(each) for each in inputs]
        if joint is not None and (difference := farthest(joint, alone)) > DISTANCE_MAX:
            self._is_joint = False
            log.warning(
                "requests are answered one by one: in a batch an answer differed by %.2g; the limit is %g",
                difference,
                DISTANCE_MAX,
            )
        return alone

    def _together(self, inputs: Sequence[pa.Table]) -> Sequence[Answers] | None:
        """None where the model fails on some of them."""
        result = self._alone(pa.concat_tables(inputs))
        if isinstance(result, BaseException) or len(result) != sum(each.num_rows for each in inputs):
            return None
        parts, start = [], 0
        for each in inputs:
            stop = start + each.num_rows
            scores = None if result.scores_BK is None else result.scores_BK[start:stop]
            parts.append(Answers(result.labels.slice(start, each.num_rows), scores))
            start = stop
        return parts

    def _alone(self, inputs: pa.Table) -> Result:
        began_s = time.perf_counter()
        try:
            answers = self._pass_of(inputs)
        except (Exception, SystemExit) as error:  # a model that calls sys.exit() ends its request, not the server
            return error
        self._times.learn(inputs.num_rows, time.perf_counter() - began_s)
        return answers


def farthest(joint: Sequence[Answers], alone: Sequence[Result]) -> float:
    """The greatest distance between answers to the same requests; infinite where they cannot be compared. Pure.

    Requests that fail alone are no evidence.
    """
    distances = [_distance(one, other) for one, other in zip(joint, alone, strict=True) if isinstance(other, Answers)]
    return max(distances, default=0.0)


def _distance(one: Answers, other: Answers) -> float:
    if one.scores_BK is not None and other.scores_BK is not None:
        if one.scores_BK.shape != other.scores_BK.shape:
            return float("inf")
        return float(np.abs(one.scores_BK - other.scores_BK).max(initial=0.0))
    if len(one) != len(other) or one.scores_BK is not other.scores_BK:
        return float("inf")
    ones, others = (np.asarray(each.labels.to_numpy(zero_copy_only=False), dtype=np.float64) for each in (one, other))
    return float((np.abs(ones - others) / np.maximum(np.abs(others), 1.0)).max(initial=0.0))
