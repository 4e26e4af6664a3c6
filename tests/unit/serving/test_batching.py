"""Requests that wait together are answered by one pass, and each as if it were alone."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.labels.answers import Answers
from ratchet.serving.batching import Batcher
from ratchet.serving.pass_times import PassTimes

THREAD = ThreadPoolExecutor(1)
NUM_PROOFS = 8


class Model:
    """Answers x with the probability x; counts its passes. 13 is what it fails on."""

    def __init__(self, spoil: Callable[[np.ndarray], np.ndarray] = lambda x_B: x_B, *, takes_s: float = 0.0) -> None:
        self.spoil, self.takes_s = spoil, takes_s
        self.rows: list[int] = []

    def answer(self, inputs: pa.Table) -> Answers:
        self.rows.append(inputs.num_rows)
        time.sleep(self.takes_s)
        x_B = inputs["x"].to_numpy()
        if (x_B == 13).any():
            raise ValueError("13")
        scores_BK = self.spoil(x_B)[:, None]
        return Answers(pa.array([f"{x:g}" for x in x_B]), scores_BK)


def batcher(model: Model, *, budget_s: float = 10.0) -> Batcher:
    made = Batcher(model.answer, THREAD, budget_s=budget_s)
    made.warm_up(request(0.0), num=1)
    model.rows.clear()
    return made


def request(*values: float) -> pa.Table:
    return pa.table({"x": pa.array(values, pa.float64())})


def ask(asked: Batcher, *requests: pa.Table) -> list[Answers | BaseException]:
    """All at the same time."""

    async def gathered() -> list[Answers | BaseException]:
        return await asyncio.gather(*map(asked.answer, requests), return_exceptions=True)

    return asyncio.run(gathered())


def proved(model: Model) -> Batcher:
    made = batcher(model)

    async def prove() -> None:
        for _ in range(NUM_PROOFS):
            await asyncio.gather(made.answer(request(1.0)), made.answer(request(2.0)))

    asyncio.run(prove())
    model.rows.clear()
    return made


def check(answers: list[Answers | BaseException], requests: list[pa.Table]) -> None:
    for answer, asked in zip(answers, requests, strict=True):
        assert isinstance(answer, Answers) and answer.scores_BK is not None
        assert answer.scores_BK.ravel().tolist() == asked["x"].to_pylist()
        assert [float(label) for label in answer.labels.to_pylist()] == asked["x"].to_pylist()


@settings(max_examples=20)  # each has three event loops
@given(st.lists(st.lists(st.integers(0, 12).map(float), min_size=1, max_size=3), min_size=1, max_size=12))
def test_each_request_has_its_own_answers_before_and_after_the_proof(sizes: list[list[float]]) -> None:
    requests = [request(*each) for each in sizes]
    check(ask(batcher(Model()), *requests), requests)
    model = Model()
    made = proved(model)
    check(ask(made, *requests), requests)
    if len(requests) > 1:
        assert model.rows[0] == sum(map(len, sizes)) and len(model.rows) == 1


def test_one_client_has_a_pass_a_request() -> None:
    model = Model()
    made = proved(model)
    for value in (1.0, 2.0, 3.0):
        check(ask(made, request(value)), [request(value)])
    assert model.rows == [1, 1, 1]


def test_a_request_that_fails_fails_alone() -> None:
    made = proved(Model())
    first, failed, last = ask(made, request(1.0), request(2.0, 13.0), request(3.0))
    check([first, last], [request(1.0), request(3.0)])
    assert isinstance(failed, ValueError)


def test_a_model_that_looks_at_the_neighbours_is_never_answered_in_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    model = Model(lambda x_B: x_B + 2e-5 * (x_B - x_B.mean()))
    made = batcher(model)
    requests = [request(float(value)) for value in range(5)]
    for _ in range(3):
        check(ask(made, *requests), requests)
    assert "one by one" in caplog.text and model.rows.count(5) == 1


def test_a_difference_in_the_last_digits_is_borne() -> None:
    model = Model(lambda x_B: x_B + (1e-7 if len(x_B) > 1 else 0))
    made = proved(model)
    ask(made, request(1.0), request(2.0))
    assert model.rows == [2]


@pytest.mark.parametrize(("budget_s", "rows"), [(0.0, [1, 1, 1]), (10.0, [3])], ids=["off", "on"])
def test_the_budget_bounds_a_pass(budget_s: float, rows: list[int]) -> None:
    model = Model()
    made = batcher(model, budget_s=budget_s)
    for _ in range(NUM_PROOFS):
        ask(made, request(1.0), request(2.0))
    model.rows.clear()
    ask(made, request(1.0), request(2.0), request(3.0))
    assert model.rows == rows


def test_a_long_pass_leaves_the_loop_free() -> None:
    made = batcher(Model(takes_s=0.05))

    async def turns() -> int:
        answering, num = asyncio.ensure_future(made.answer(request(1.0))), 0
        while not answering.done():
            await asyncio.sleep(0)
            num += 1
        return num

    assert asyncio.run(turns()) > 10, "a pass in the loop takes three"


@given(
    passes=st.lists(st.tuples(st.integers(1, 4096), st.floats(1e-6, 10)), min_size=1, max_size=30),
    rows=st.lists(st.integers(1, 4096), min_size=1, max_size=30),
    budget_s=st.floats(0, 1),
)
def test_a_pass_of_several_requests_is_expected_within_the_budget(
    passes: list[tuple[int, float]], rows: list[int], budget_s: float
) -> None:
    times = PassTimes()
    assert times.num_within(rows, budget_s) == 1, "nothing is known"
    for num_rows, took_s in passes:
        times.learn(num_rows, took_s)
    num = times.num_within(rows, budget_s)
    assert 1 <= num <= len(rows)
    assert num == 1 or times.expected_s(sum(rows[:num])) <= budget_s
    assert num == len(rows) or times.expected_s(sum(rows[: num + 1])) > budget_s


def test_one_pause_of_the_machine_is_no_slow_model() -> None:
    times = PassTimes()
    for took_s in [0.0002] * 20 + [1.0]:
        times.learn(1, took_s)
    assert times.expected_s(1) < 0.0003
    for _ in range(100):
        times.learn(1, 0.1)
    assert times.expected_s(1) > 0.09
