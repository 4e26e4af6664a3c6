"""When a request is refused because too many wait before it, by a clock of the test's own."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.serving.overload import Overloaded, RequestsUnderWay

ALWAYS_TAKEN = 16


def busy(*, answer_s: float, num_under_way: int, wait_s_max: float = 2.0) -> RequestsUnderWay:
    """A server that has answered one request after another in this time each; none is refused on the way."""
    under_way = RequestsUnderWay(wait_s_max=wait_s_max)
    for index in range(50):
        under_way.begin()
        under_way.end(began_at=index * answer_s, now=(index + 1) * answer_s)
    for _ in range(num_under_way):
        under_way.begin()
    return under_way


@pytest.mark.parametrize(
    ("answer_s", "num_under_way", "is_taken"),
    [
        pytest.param(0.001, 1000, True, id="fast-and-many"),
        pytest.param(0.01, 200, True, id="at-the-limit"),
        pytest.param(0.01, 201, False, id="one-more-than-the-limit"),
        pytest.param(10.0, ALWAYS_TAKEN - 1, True, id="slow-and-few"),
        pytest.param(10.0, ALWAYS_TAKEN, False, id="slow-and-one-more"),
    ],
)
def test_a_request_is_refused_where_it_would_wait_too_long(answer_s: float, num_under_way: int, is_taken: bool) -> None:
    under_way = busy(answer_s=answer_s, num_under_way=min(num_under_way, 201))
    if num_under_way > 201:
        for _ in range(num_under_way - 201):
            under_way.begin()
    if is_taken:
        under_way.begin()
        return
    with pytest.raises(Overloaded, match=f"{num_under_way} requests are under way"):
        under_way.begin()
    assert under_way.num == num_under_way, "a refused request is not under way"


def test_nothing_is_refused_before_anything_is_known() -> None:
    under_way = RequestsUnderWay()
    for _ in range(5000):
        under_way.begin()


@pytest.mark.parametrize(("answer_s", "retry_after_s"), [(0.15, 1), (0.5, 6), (2.0, 30)])
def test_the_caller_is_told_when_those_before_it_are_gone(answer_s: float, retry_after_s: int) -> None:
    with pytest.raises(Overloaded) as refused:
        busy(answer_s=answer_s, num_under_way=ALWAYS_TAKEN).begin()
    assert refused.value.retry_after_s == retry_after_s


def test_the_time_that_a_server_is_idle_is_no_time_of_an_answer() -> None:
    under_way = RequestsUnderWay()
    for began_at in (0.0, 1000.0, 5000.0):
        under_way.begin()
        under_way.end(began_at=began_at, now=began_at + 0.01)
    under_way.begin()
    assert under_way.wait_s == pytest.approx(0.01)


def test_a_server_that_is_quick_again_takes_requests_again() -> None:
    under_way = busy(answer_s=1.0, num_under_way=ALWAYS_TAKEN)
    now = 50.0
    for _ in range(40):
        under_way.end(began_at=50.0, now=(now := now + 0.001))
        under_way.begin()
    under_way.begin()


def test_a_refused_request_is_answered_429_with_the_seconds_to_wait() -> None:
    from starlette.testclient import TestClient

    from ratchet.serving.http_app import HttpApp

    full = busy(answer_s=0.5, num_under_way=ALWAYS_TAKEN)
    unasked: Any = SimpleNamespace(name="digits", is_ready=True)
    client = TestClient(HttpApp(unasked, digest="d", bytes_max=100, under_way=full))
    for path in ("/v1/models/digits:predict", "/v2/models/digits/infer"):
        answer = client.post(path, json={})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "6")
        assert "limit is 2 s. Try again in 6 s." in answer.json()["error"]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=60))
def test_whatever_comes_those_under_way_are_those_that_began_and_have_not_ended(
    steps: list[tuple[bool, float]],
) -> None:
    under_way, now = RequestsUnderWay(), 0.0
    began: list[float] = []
    for is_begin, passed_s in steps:
        now += passed_s
        if is_begin:
            try:
                under_way.begin()
            except Overloaded as refused:
                assert len(began) >= ALWAYS_TAKEN and refused.retry_after_s >= 1
            else:
                began.append(now)
        elif began:
            under_way.end(began_at=began.pop(0), now=now)
        assert under_way.num == len(began) and under_way.wait_s >= 0
