"""Counters that only grow, out of counters that start again at 0 whenever what counts them is restarted or replaced."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

Series = TypeVar("Series", bound=Hashable)


class GrowingCounters(Generic[Series]):
    """Adds up what each series grew by, from one reading to the next.

    A reading is each series' values by upper bound: a histogram has many, cumulative; a plain counter one, at infinity.

    A series that fell has started again at 0: its new value is what came since, and what came between the last reading
    and the restart is lost, never counted twice. One that is gone keeps what it had. Not safe for threads.
    """

    def __init__(self, *, is_gone_for_good: bool) -> None:
        """`is_gone_for_good`: a series that was missing and is back began at 0, instead of having gone on unseen."""
        self._is_gone_for_good = is_gone_for_good
        self._last: dict[Series, dict[float, float]] = {}
        self._total: dict[Series, dict[float, float]] = {}

    def add(self, reading: Mapping[Series, Mapping[float, float]]) -> Mapping[Series, Mapping[float, float]]:
        """The totals of every series ever seen, this reading included."""
        for series, values in reading.items():
            last = self._last.get(series, {})
            is_new = any(values.get(bound, 0.0) < value for bound, value in last.items())
            total = self._total.setdefault(series, {})
            for bound, value in values.items():
                total[bound] = total.get(bound, 0.0) + value - (0.0 if is_new else last.get(bound, 0.0))
        kept = {} if self._is_gone_for_good else self._last
        self._last = kept | {series: dict(values) for series, values in reading.items()}
        return self._total


def sum_histograms(histograms: Iterable[Mapping[float, float]]) -> dict[float, int]:
    """One cumulative histogram of several with the same bounds, in order of the bounds."""
    histograms = tuple(histograms)
    bounds = sorted({bound for histogram in histograms for bound in histogram})
    return {bound: round(sum(histogram.get(bound, 0.0) for histogram in histograms)) for bound in bounds}
