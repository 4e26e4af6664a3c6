"""What is done on the side holds nobody up."""

import threading
import time

import pytest

from ratchet.core.errors import Conflict, Unavailable
from ratchet.errand import Errand


def test_work_that_takes_long_is_asked_for_again_and_done_once() -> None:
    gate, num_runs = threading.Event(), [0]

    def work() -> str:
        num_runs[0] += 1
        gate.wait(10)
        return "done"

    errand = Errand(work, name="slow")
    began_s = time.monotonic()
    assert errand.ask(wait_s=0.01) is errand.ask(wait_s=0.01) is None
    assert time.monotonic() - began_s < 5
    gate.set()
    assert errand.ask(wait_s=10) == "done"
    assert num_runs == [1]
    errand.close()


def test_a_server_that_stays_away_is_no_news_and_another_error_is() -> None:
    errors: list[Exception] = [Unavailable("away"), Conflict("somebody else")]

    def work() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    errand = Errand(work, name="failing")
    assert errand.ask(wait_s=10) is None
    with pytest.raises(Conflict):
        errand.ask(wait_s=10)
    assert errand.ask(wait_s=10) == "done"
    errand.close()


def test_work_that_ends_with_a_timeout_of_its_own_is_begun_again() -> None:
    errors: list[Exception] = [TimeoutError("a socket's")]

    def work() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    errand = Errand(work, name="timing-out")
    with pytest.raises(TimeoutError):
        errand.ask(wait_s=10)
    assert errand.ask(wait_s=10) == "done"
    errand.close()
