"""How many labels `ratchet labels queue` saves: `python -m benchmarks.queue [--quick]`.

Active learning is replayed on data sets that ship with scikit-learn: of a pool whose labels are hidden, each round asks
for a few more, by `pick_next` with its audit share, and a model trained on them is scored on held-out rows. Measured is
the number of labels at which the mean accuracy of a strategy reaches the accuracy that random picks have at the point
where they come within one point of all labels; 50 seeds (5 with --quick), with a bootstrap interval over the seeds.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from ratchet.core.labels.queueing import Pool, Strategy, margins_of, pick_next, standardised

GOAL = 0.6
"""Of random's labels."""
NEAR_ALL = 0.01
"""Accuracy below that of all labels."""
TEST_SHARE = 0.3
NUM_RESAMPLES = 1_000
STRATEGIES: tuple[Strategy, ...] = ("random", "margin", "coverage", "auto")


class Replay(NamedTuple):
    name: str
    load: Callable[..., tuple[np.ndarray, np.ndarray]]
    learner: str
    first: int
    """Labels at the beginning, by chance."""
    step: int
    most: int


REPLAYS = (
    Replay("digits-logistic", load_digits, "logistic", 40, 40, 640),
    Replay("breast-cancer-logistic", load_breast_cancer, "logistic", 10, 5, 150),
    Replay("wine-logistic", load_wine, "logistic", 6, 3, 105),
    Replay("breast-cancer-trees", load_breast_cancer, "trees", 10, 10, 150),
    Replay("wine-trees", load_wine, "trees", 6, 6, 102),
)


def replayed(replay: Replay, strategy: Strategy, seed: int) -> tuple[list[float], float]:
    """Accuracy after each round, and with all labels of the pool."""
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    features_ND, labels_N = replay.load(return_X_y=True)
    points_ND = standardised(features_ND.astype(np.float32))
    order = np.random.default_rng(seed).permutation(len(points_ND))
    num_test = int(TEST_SHARE * len(order))
    test, pool = order[:num_test], order[num_test:]

    def fitted(rows: np.ndarray) -> Any:
        model = (
            LogisticRegression(max_iter=300)
            if replay.learner == "logistic"
            else ExtraTreesClassifier(20, random_state=seed)
        )
        return model.fit(points_ND[rows], labels_N[rows]) if len(set(labels_N[rows])) > 1 else None

    known, accuracies = pool[: replay.first], []
    while True:
        model = fitted(known)
        accuracies.append(0.0 if model is None else float(model.score(points_ND[test], labels_N[test])))
        if len(known) + replay.step > min(replay.most, len(pool)):
            return accuracies, float(fitted(pool).score(points_ND[test], labels_N[test]))
        rest = np.setdiff1d(pool, known)
        uncertainty_B = None if model is None else margins_of(model.predict_proba(points_ND[rest]))
        candidates = Pool([f"row-{index}" for index in rest], uncertainty_B, points_ND[rest])
        picks = pick_next(candidates, size=replay.step, strategy=strategy, seed=seed)
        known = np.concatenate([known, rest[[pick.row for pick in picks]]])


def labels_needed(accuracies: np.ndarray, target: float, numbers: Sequence[int]) -> float:
    """The first number at which the mean accuracy is the target; infinite when it never is."""
    return next((float(num) for num, value in zip(numbers, accuracies, strict=True) if value >= target), float("inf"))


def ratio_of(curves: Mapping[Any, np.ndarray], strategy: str, full_S: np.ndarray, numbers: Sequence[int]) -> float:
    """Labels that the strategy needs for random's accuracy, over those that random needs. curves: (S, R), seeds by
    rounds."""
    random_R = curves["random"].mean(axis=0)
    near = np.flatnonzero(random_R >= full_S.mean() - NEAR_ALL)
    place = int(near[0]) if len(near) else len(random_R) - 1
    return labels_needed(curves[strategy].mean(axis=0), float(random_R[place]), numbers) / numbers[place]


def measured(replay: Replay, num_seeds: int, workers: ProcessPoolExecutor) -> list[dict[str, Any]]:
    curves: dict[Strategy, np.ndarray] = {}
    full_S = np.zeros(num_seeds)
    for strategy in STRATEGIES:
        runs = list(workers.map(partial(replayed, replay, strategy), range(num_seeds)))
        curves[strategy] = np.array([accuracies for accuracies, _ in runs])
        full_S = np.array([full for _, full in runs])
    numbers = [replay.first + replay.step * place for place in range(curves["random"].shape[1])]
    rng = np.random.default_rng(0)
    samples = [rng.integers(0, num_seeds, num_seeds) for _ in range(NUM_RESAMPLES)]
    rows = []
    for strategy in STRATEGIES[1:]:
        ratio = ratio_of(curves, strategy, full_S, numbers)
        again = [
            ratio_of({name: curve[some] for name, curve in curves.items()}, strategy, full_S[some], numbers)
            for some in samples
        ]
        low, high = (float(value) for value in np.quantile(again, [0.025, 0.975], method="nearest"))
        rows.append(row(f"queue.{replay.name}.{strategy}", ratio, low=low, high=high))
    return rows


def row(name: str, ratio: float, *, low: float, high: float) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return round(value, 3) if np.isfinite(value) else None

    gain = "gain" if high < 1 else "loss" if low > 1 else "no gain shown"
    return {
        "name": name,
        "value": number(ratio),
        "unit": "of random's labels",
        "peer": 1.0,
        "ratio": number(ratio),
        "low": number(low),
        "high": number(high),
        "says": gain,
        "goal": GOAL,
        "ok": ratio <= GOAL,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 seeds, logistic regression only; under a minute")
    is_quick = parser.parse_args().quick
    replays = [each for each in REPLAYS if each.learner == "logistic"] if is_quick else REPLAYS
    rows: list[dict[str, Any]] = []
    print(f"{'labels for the accuracy of random':<44} {'ratio':>6}  {'95 % of seeds':<15} {'':<14} goal")
    with ProcessPoolExecutor(2) as workers:
        for replay in replays:
            for one in measured(replay, 5 if is_quick else 50, workers):
                rows.append(one)
                interval = f"{one['low'] or 'never'}–{one['high'] or 'never'}"
                shown = "never" if one["value"] is None else f"{one['value']:.2f}"
                print(f"{one['name']:<44} {shown:>6}  {interval:<15} {one['says']:<14} {'yes' if one['ok'] else 'NO'}")
    reached = sorted({one["name"].split(".")[1] for one in rows if one["ok"] and one["name"].endswith(".auto")})
    print(f"`auto` reaches random's accuracy with at most {GOAL:.0%} of its labels on: {', '.join(reached) or 'none'}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
