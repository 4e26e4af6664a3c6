import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from ratchet.adapters.counters import GrowingCounters, sum_histograms

STEPS = st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=30)


@given(STEPS)
def test_a_counter_that_starts_again_loses_and_repeats_nothing_that_was_read(steps):
    """Between two readings it grows by some, and may have begun anew before: seen as a fall, unless it grew past."""
    counters, value, expected = GrowingCounters[str](is_gone_for_good=False), 0, 0
    for grown, is_restarted in steps:
        before = value
        value = grown if is_restarted else value + grown
        expected += value if value < before else value - before
        totals = counters.add({"requests": {math.inf: value}})
        assert totals["requests"][math.inf] == expected


@given(STEPS)
def test_totals_never_fall_even_when_series_come_and_go(steps):
    for is_gone_for_good in (True, False):
        counters, last = GrowingCounters[int](is_gone_for_good=is_gone_for_good), 0.0
        for number, (grown, is_there) in enumerate(steps):
            totals = counters.add({number % 3: {math.inf: grown}} if is_there else {})
            total = sum(values[math.inf] for values in totals.values())
            assert total >= last
            last = total


def test_a_histogram_starts_again_as_a_whole():
    """The slow bucket alone would look as if it had grown from 50 to 60."""
    counters = GrowingCounters[str](is_gone_for_good=True)
    counters.add({"latency": {20: 44, math.inf: 50}})
    totals = counters.add({"latency": {20: 41, math.inf: 60}})
    assert totals["latency"] == {20: 85, math.inf: 110}


def test_a_series_that_was_away_went_on_or_began_anew_as_the_source_has_it():
    readings: tuple[dict[str, dict[float, float]], ...] = ({"a": {math.inf: 10}}, {}, {"a": {math.inf: 12}})
    went_on, began_anew = GrowingCounters[str](is_gone_for_good=False), GrowingCounters[str](is_gone_for_good=True)
    for reading in readings:
        one, other = went_on.add(reading), began_anew.add(reading)
    assert (one["a"][math.inf], other["a"][math.inf]) == (12, 22)


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), max_size=4))
def test_a_sum_of_cumulative_histograms_is_cumulative(histograms):
    bounds = (1.0, 5.0, math.inf)
    summed = sum_histograms(dict(zip(bounds, itertools.accumulate(each), strict=True)) for each in histograms)
    assert list(summed.values()) == sorted(summed.values())
    assert summed.get(math.inf, 0) == sum(map(sum, histograms))
