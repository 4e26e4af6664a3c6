"""How two draws of examples differ, as tables and SVG that every browser shows without scripts. Pure.

Shape suffixes: N incoming rows, M reference rows.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from ratchet.core.labels.drift import feature_shift

_WIDTH, _HEIGHT, _NUM_BINS = 240, 60, 24
_KNOWN, _NEW = "#1d4ed8", "#c2410c"
_CLASSES_MAX = 50
"""Rows of the table of classes; the most frequent ones."""


class FeatureDraw(NamedTuple):
    """One feature on both sides."""

    name: str
    known_M: np.ndarray
    new_N: np.ndarray


def render_differences(
    features: Sequence[FeatureDraw], *, known_labels: Sequence[str], new_labels: Sequence[str]
) -> str:
    """The classes by share, and each feature with its numbers and its two histograms."""
    rows = "".join(_render_feature(feature) for feature in features)
    return (
        f"<h2>Classes</h2>{_render_classes(known_labels, new_labels)}"
        f"<h2>The {len(features)} features that shift most</h2>"
        f'<p>KS is the Kolmogorov-Smirnov distance, 0 to 1. <span style="color:{_KNOWN}">■ known</span> '
        f'<span style="color:{_NEW}">■ new</span></p>'
        "<table><thead><tr><th>feature</th><th>KS</th><th>mean, known</th><th>mean, new</th><th>deviation, known</th>"
        f"<th>deviation, new</th><th>share of rows by value</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _render_classes(known_labels: Sequence[str], new_labels: Sequence[str]) -> str:
    known, new = Counter(known_labels), Counter(new_labels)
    names = [name for name, _ in (known + new).most_common()]
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{_share(known[name], len(known_labels))}</td>"
        f"<td>{_share(new[name], len(new_labels))}</td></tr>"
        for name in names[:_CLASSES_MAX]
    )
    rest = f"<p>{len(names) - _CLASSES_MAX} more classes are not shown.</p>" if len(names) > _CLASSES_MAX else ""
    head = (
        f"<thead><tr><th>class</th><th>of {len(known_labels)} known</th><th>of {len(new_labels)} new</th></tr></thead>"
    )
    return f"<table>{head}<tbody>{rows}</tbody></table>{rest}"


def _share(num: int, num_all: int) -> str:
    return f"{num / num_all:.1%} ({num})" if num_all else "–"


def _render_feature(feature: FeatureDraw) -> str:
    known_M, new_N = (side[np.isfinite(side)] for side in (feature.known_M, feature.new_N))
    if not (len(known_M) and len(new_N)):
        return f'<tr><td>{escape(feature.name)}</td><td colspan="6">no finite numbers to compare</td></tr>'
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = (feature_shift(known_M, new_N), known_M.mean(), new_N.mean(), known_M.std(), new_N.std())
    cells = "".join(f'<td class="number">{number:.4g}</td>' for number in numbers)
    return f"<tr><td>{escape(feature.name)}</td>{cells}<td>{_render_histogram(known_M, new_N)}</td></tr>"


def _render_histogram(known_M: np.ndarray, new_N: np.ndarray) -> str:
    low, high = float(min(known_M.min(), new_N.min())), float(max(known_M.max(), new_N.max()))
    shares = [_shares_of(side, low=low, high=high) for side in (known_M, new_N)]
    top = max(float(share.max()) for share in shares)
    bars = "".join(
        bar for share, colour in zip(shares, (_KNOWN, _NEW), strict=True) for bar in _bars(share / top, colour)
    )
    label = f"values from {low:.4g} to {high:.4g}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{bars}</svg>"
    )


def _shares_of(side: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """Share of the rows in each bin. Halves, because the span of two floats may be no float; np.histogram raises."""
    half_span = high / 2 - low / 2
    places = (side / 2 - low / 2) / half_span if half_span > 0 else np.full(len(side), 0.5)
    counts = np.bincount(np.minimum((places * _NUM_BINS).astype(int), _NUM_BINS - 1), minlength=_NUM_BINS)
    shares: np.ndarray = counts / len(side)
    return shares


def _bars(heights: np.ndarray, colour: str) -> Iterator[str]:
    width = _WIDTH / _NUM_BINS
    for index, height in enumerate(heights):
        if height > 0:
            tall = float(height) * (_HEIGHT - 2)
            yield (
                f'<rect x="{index * width:.1f}" y="{_HEIGHT - tall:.1f}" width="{width - 1:.1f}" height="{tall:.1f}" '
                f'fill="{colour}" fill-opacity="0.5"/>'
            )
