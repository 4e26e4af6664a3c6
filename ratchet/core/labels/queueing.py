"""What to label next: a ranking of candidates with a random share that no score has touched. Pure.

Every choice that is not by score is by the hash of an example's id and a seed, so that the same candidates give the
same queue and no order of a file matters. Shape suffixes: B candidates, D dimensions.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

Strategy = Literal["auto", "margin", "disagreement", "coverage", "random"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Reason = Literal["audit", "margin", "disagreement", "coverage", "random", "tool"]
"""tool: the labelling tool chose it, and asked for the champion's answer (`prefill`)."""
AUDIT_SHARE = 0.1
"""Of a queue: chosen by hash alone, so that the accuracy on these labels is that on all candidates."""
BLIND_SHARE = 0.1
"""Of a queue: shown without the champion's answer, so that its pull on the labelers can be measured."""
RELABEL_SHARE_MAX = 0.2
"""Of an `auto` queue: examples whose opinions are tied."""
SPREAD_OVER = 4
"""`auto` takes this many times the picks by margin and spreads over them: the most uncertain ones are often alike."""
SPREAD_MAX = 20_000
"""Candidates that a spread looks at; each pick compares all of them."""


@dataclass(frozen=True)
class Pool:
    """Candidates without a label, each id once."""

    ids: Sequence[str]
    uncertainty_B: np.ndarray | None = None
    """float64, larger is less sure; NaN: the champion was not asked. None: there is no champion, or it has no doubt to
    tell (numbers)."""
    points_BD: np.ndarray | None = None
    """float32, standardised inputs; None: the inputs have no distance (pictures)."""
    answers: Sequence[str] | None = None
    """The champion's answers: what a queue is balanced by where `points_BD` is None."""
    is_tied_B: np.ndarray | None = None
    """bool: it has labels, and its labelers' opinions are tied. Such a one is only ever taken to be labelled again."""


class Pick(NamedTuple):
    row: int
    """Of the candidate in the pool."""
    reason: Reason
    is_blind: bool

    @property
    def is_audit(self) -> bool:
        return self.reason == "audit"


def draw(ids: Sequence[str], salt: str) -> np.ndarray:
    """(B,) float64 in 0..1, of each id its own: a random number that is the same every time."""
    digests = (hashlib.sha256(f"{salt}:{example_id}".encode()).digest() for example_id in ids)
    return np.array([int.from_bytes(digest[:8], "big") for digest in digests], dtype=np.float64) / 2.0**64


def pick_next(
    pool: Pool,
    *,
    size: int,
    strategy: Strategy = "auto",
    seed: int = 0,
    audit_share: float = AUDIT_SHARE,
    blind_share: float = BLIND_SHARE,
) -> tuple[Pick, ...]:
    """At most `size` candidates, each once, the audit share spread evenly over the queue: whoever stops half way has
    labelled a random share too. The rest is in the order of the strategy.

    The audit share is drawn first, among all candidates that have no label, without a look at any score. A queue of
    ties alone (`disagreement`) has none.
    """
    is_tied_B = np.zeros(len(pool.ids), dtype=bool) if pool.is_tied_B is None else pool.is_tied_B
    drawn_B = draw(pool.ids, f"audit:{seed}")
    new = np.flatnonzero(~is_tied_B)
    num = min(size, len(pool.ids))
    num_audit = 0 if strategy == "disagreement" else int(np.ceil(min(num, len(new)) * audit_share))
    audit = new[_smallest(drawn_B[new], num_audit)]
    others = np.setdiff1d(np.arange(len(pool.ids)), audit, assume_unique=True)
    ranked = _ranked(pool, others, is_tied_B, num=num - len(audit), strategy=strategy, drawn_B=drawn_B)
    order = _interleaved(ranked, [(int(index), "audit") for index in audit])
    blind_B = draw([pool.ids[index] for index, _ in order], f"blind:{seed}")
    blind = set(_smallest(blind_B, round(len(order) * blind_share)).tolist())
    return tuple(Pick(index, reason, place in blind) for place, (index, reason) in enumerate(order))


def margins_of(scores_BK: np.ndarray) -> np.ndarray:
    """(B,) float64, uncertainty: 1 less the distance between the two likeliest classes; 1 is a tie.

    scores_BK: probabilities that sum to 1. Source: Scheffer, Decomain & Wrobel (2001).
    """
    top_B2 = np.partition(scores_BK, -2, axis=1)[:, -2:]
    return np.asarray(1.0 - (top_B2[:, 1] - top_B2[:, 0]))


def standardised(raw_BD: np.ndarray) -> np.ndarray:
    """(B, D) float32: mean 0 and deviation 1 in each column; what is missing (NaN) or constant is 0. In place for
    float32: a million rows are a quarter of a gigabyte."""
    points_BD = np.asarray(raw_BD, dtype=np.float32)
    for column in points_BD.T:
        known = column[~np.isnan(column)]
        mean, deviation = (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)
        column -= mean
        column *= 1 / deviation if deviation > 1e-9 * max(abs(mean), 1e-30) else 0.0
        column[np.isnan(column)] = 0.0
    return points_BD


def farthest_first(points_BD: np.ndarray, num: int) -> np.ndarray:
    """Indices of `num` points: the one nearest to the mean, then always the one farthest from those taken.

    Within twice the best cover by radius. Source: Gonzalez, "Clustering to minimize the maximum intercluster distance"
    (1985).
    """
    num = min(num, len(points_BD))
    if num == 0:
        return np.zeros(0, dtype=np.int64)
    taken = np.empty(num, dtype=np.int64)
    norms_B = np.einsum("bd,bd->b", points_BD, points_BD)
    taken[0] = int(np.argmin(_distances(points_BD, norms_B, points_BD.mean(axis=0))))
    nearest_B = _distances(points_BD, norms_B, points_BD[taken[0]])
    # Squared distances are never below 0, so one that is taken is never the farthest again.
    nearest_B[taken[0]] = -1.0
    for place in range(1, num):
        taken[place] = int(np.argmax(nearest_B))
        np.minimum(nearest_B, _distances(points_BD, norms_B, points_BD[taken[place]]), out=nearest_B)
        nearest_B[taken[: place + 1]] = -1.0
    return taken


def _distances(points_BD: np.ndarray, norms_B: np.ndarray, point_D: np.ndarray) -> np.ndarray:
    """Squared, never below 0 (rounding)."""
    return np.maximum(norms_B - 2.0 * (points_BD @ point_D) + point_D @ point_D, 0.0)


def _smallest(values: np.ndarray, num: int) -> np.ndarray:
    """Places of the smallest, in their order."""
    return np.argsort(values, kind="stable")[:num]


def _ranked(
    pool: Pool, others: np.ndarray, is_tied_B: np.ndarray, *, num: int, strategy: Strategy, drawn_B: np.ndarray
) -> list[tuple[int, Reason]]:
    shuffled = others[np.argsort(drawn_B[others], kind="stable")]
    tied, new = shuffled[is_tied_B[shuffled]], shuffled[~is_tied_B[shuffled]]
    if strategy == "disagreement":
        return [(int(index), "disagreement") for index in tied[:num]]
    again: list[tuple[int, Reason]] = []
    if strategy == "auto":
        again = [(int(index), "disagreement") for index in tied[: int(num * RELABEL_SHARE_MAX)]]
    left = num - len(again)
    knows = pool.uncertainty_B is not None and not np.isnan(pool.uncertainty_B[new]).all()
    if strategy in {"auto", "margin"} and knows:
        return again + _by_margin(pool, new, num=left, is_spread=strategy == "auto")
    if strategy in {"auto", "coverage"}:
        return again + _by_coverage(pool, new, num=left)
    return again + [(int(index), "random") for index in new[:left]]


def _by_margin(pool: Pool, new: np.ndarray, *, num: int, is_spread: bool) -> list[tuple[int, Reason]]:
    """The least sure first, equal ones by their draw; who was not asked comes last."""
    assert pool.uncertainty_B is not None
    order = new[np.argsort(-np.nan_to_num(pool.uncertainty_B[new], nan=-np.inf), kind="stable")]
    if is_spread and pool.points_BD is not None and len(order) > num:
        order = order[: min(num * SPREAD_OVER, SPREAD_MAX)]
        order = order[farthest_first(pool.points_BD[order], num)]
    return [(int(index), "margin") for index in order[:num]]


def _by_coverage(pool: Pool, new: np.ndarray, *, num: int) -> list[tuple[int, Reason]]:
    """Far from each other; without distances each of the champion's answers in turn, the rarest first."""
    if pool.points_BD is not None:
        some = new[:SPREAD_MAX] if num <= SPREAD_MAX else new[:num]
        return [(int(index), "coverage") for index in some[farthest_first(pool.points_BD[some], num)]]
    if pool.answers is None:
        return [(int(index), "random") for index in new[:num]]
    by_answer: dict[str, list[int]] = {}
    for index in new.tolist():
        by_answer.setdefault(pool.answers[index], []).append(index)
    turns = sorted(by_answer.values(), key=len)
    longest = max(map(len, turns), default=0)
    picked = [group[turn] for turn in range(longest) for group in turns if turn < len(group)]
    return [(index, "coverage") for index in picked[:num]]


def _interleaved(ranked: list[tuple[int, Reason]], audit: Sequence[tuple[int, Reason]]) -> list[tuple[int, Reason]]:
    """The audited ones evenly spread over the others."""
    places = [(place / max(len(ranked), 1), 0, each) for place, each in enumerate(ranked)]
    places += [((place + 0.5) / max(len(audit), 1), 1, each) for place, each in enumerate(audit)]
    return [each for _, _, each in sorted(places, key=lambda row: row[:2])]
