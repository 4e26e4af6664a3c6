"""Whether a network is compiled: what its machine lacks for it, what is tried, and what is chosen by the times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.models.compiling import (
    FoundCompiler,
    TimedCompile,
    choose_compiled,
    compiled_ways,
    is_worth_compiling,
    why_not_compiled,
)
from ratchet.core.models.layout import GAIN_MIN

CPU, GPU = FoundCompiler("cpu", "/usr/bin/g++"), FoundCompiler("cuda", "/usr/bin/g++", has_triton=True)


@pytest.mark.parametrize(
    ("how", "found", "missing"),
    [
        pytest.param("on", CPU, "", id="a-cpu"),
        pytest.param("on", GPU, "", id="a-gpu"),
        pytest.param("graph", GPU, "", id="graphs"),
        pytest.param("off", FoundCompiler("cpu"), "", id="off-needs-nothing"),
        pytest.param("on", FoundCompiler("cpu"), "no `g++` on PATH", id="no-compiler"),
        pytest.param("on", FoundCompiler("cuda", has_triton=True), "no `g++` on PATH", id="no-compiler-for-the-gpu"),
        pytest.param("on", GPU._replace(has_triton=False), "`triton` is not installed", id="no-triton"),
        pytest.param("graph", CPU, "need a GPU", id="graphs-on-a-cpu"),
    ],
)
def test_what_a_machine_lacks_is_named(how, found, missing):
    why = why_not_compiled(how, found)
    assert missing in why and bool(why) == bool(missing)


@pytest.mark.parametrize(
    ("num_gpus", "world_size", "step_s", "ways"),
    [
        pytest.param(0, 1, 0.001, ("on",), id="a-cpu"),
        pytest.param(1, 1, 0.02, ("on", "graph"), id="launch-bound"),
        pytest.param(1, 1, 0.0201, ("on",), id="computes"),
        pytest.param(2, 2, 0.001, ("on",), id="several-workers"),
    ],
)
def test_graphs_are_tried_for_one_worker_whose_steps_are_short(num_gpus, world_size, step_s, ways):
    assert compiled_ways(num_gpus=num_gpus, world_size=world_size, step_s=step_s) == ways


@pytest.mark.parametrize(("num_steps", "is_worth"), [(17_999, False), (18_000, True)])
def test_short_trainings_are_not_worth_a_trial(num_steps, is_worth):
    assert is_worth_compiling(0.01, num_steps=num_steps) == is_worth


@pytest.mark.parametrize(
    ("num_steps", "how"),
    [
        # 20 s of compiling, 5 ms saved of 10 at each step: 95 % of the time is reached at 20 / (0.95 * 0.01 - 0.005).
        pytest.param(4_444, "off", id="too-few-steps"),
        pytest.param(4_445, "on", id="enough"),
    ],
)
def test_compiling_has_to_pay_for_itself(num_steps, how):
    timed = [TimedCompile("off", 0.01), TimedCompile("on", 0.005, 20.0)]
    chosen, text = choose_compiled(timed, num_steps=num_steps)
    assert chosen == how, text
    assert "10 ms a step" in text and "5 ms a step after 20 s of compiling" in text


def test_a_graph_has_to_save_more_than_the_compiler_alone():
    timed = [TimedCompile("off", 0.002), TimedCompile("on", 0.001, 10.0), TimedCompile("graph", 0.00096, 10.0)]
    assert choose_compiled(timed, num_steps=1_000_000)[0] == "on"
    timed[2] = TimedCompile("graph", 0.0001, 10.0)
    assert choose_compiled(timed, num_steps=1_000_000)[0] == "graph"


TIMES = st.floats(1e-5, 10, allow_nan=False)


@given(TIMES, TIMES, st.floats(0, 300), st.integers(1, 10**7))
def test_what_is_chosen_is_never_slower_than_not_compiling(off_s, on_s, start_s, num_steps):
    off, on = TimedCompile("off", off_s), TimedCompile("on", on_s, start_s)
    chosen, _ = choose_compiled([off, on], num_steps=num_steps)
    if chosen == "on":
        assert on.total_s(num_steps) < (1 - GAIN_MIN) * off.total_s(num_steps)
    else:
        assert on.total_s(num_steps) >= (1 - GAIN_MIN) * off.total_s(num_steps)
