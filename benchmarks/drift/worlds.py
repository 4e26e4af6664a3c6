"""What happens without drift: a thousand pairs of tables through the whole verdict, and years of daily looks."""

import numpy as np
import pyarrow as pa
from scipy.special import chdtrc

from benchmarks.drift.shifts import SCHEMA, draw, table_of
from ratchet.core.labels.drift.decide import TypedDecision, decide_typed_drift
from ratchet.core.labels.drift.evidence import e_value_of, look_weight, next_look
from ratchet.core.labels.drift.measures import measure_shifts
from ratchet.core.labels.drift.policy import DriftPolicy
from ratchet.core.labels.drift.tables import TableSketch, sketch_of

_COLUMNS, _LEVELS, _WORLDS_A_TIME = 20, 6, 50


def sketch(columns: dict[str, np.ndarray], random: np.random.Generator) -> TableSketch:
    """Of a table of numbers and categories, with labels that never shift."""
    inputs = table_of(columns)
    labels = pa.chunked_array([pa.array(np.array(["no", "yes"])[(random.random(inputs.num_rows) < 0.3).astype(int)])])
    return sketch_of(inputs, labels, np.arange(inputs.num_rows, dtype=np.uint64), SCHEMA)


def judge(old: TableSketch, new: TableSketch, policy: DriftPolicy) -> TypedDecision:
    """The first look at a reference."""
    measures = measure_shifts(old, new, schema=SCHEMA, policy=policy)
    look = next_look(None, reference="v1", subject="v2")
    return decide_typed_drift(measures, num_old=old.num_rows, num_new=new.num_rows, look=look, policy=policy)


def count_false_alarms(num_pairs: int, *, policy: DriftPolicy, seed: int) -> int:
    """Pairs without drift that are called drifted although every shift, however small, counts as harmful."""
    least = dict.fromkeys(("number_shift_max", "feature_shift_max", "category_shift_max", "share_shift_max"), 1e-09)
    strict = policy.model_copy(update=least)
    random = np.random.default_rng(seed)
    alarms = 0
    for _ in range(num_pairs):
        old, new = (sketch(draw(size, random), random) for size in (2_000, 500))
        alarms += judge(old, new, strict).drift.name == "drifted"
    return alarms


def years_with_alarms(num_worlds: int, *, alpha: float, seed: int) -> tuple[float, float]:
    """Share of years of daily looks at unchanged data with one false alarm or more: ours, and of a Bonferroni test a
    day.

    20 columns of 6 categories; each day's 500 rows are compared with the same 2,000 known ones.
    """
    random = np.random.default_rng(seed)
    weights = np.array([look_weight(number) for number in range(1, 366)])
    found = []
    for start in range(0, num_worlds, _WORLDS_A_TIME):
        size = min(_WORLDS_A_TIME, num_worlds - start)
        p_values = _daily_p_values(size, random)
        e_values = np.cumsum(weights[:, None] * _e_values(p_values), axis=1)
        needed = _COLUMNS / (np.arange(1, _COLUMNS + 1) * alpha)
        ours = (-np.sort(-e_values, axis=2) >= needed).any(axis=(1, 2))
        daily = (p_values.min(axis=2) <= alpha / _COLUMNS).any(axis=1)
        found.append(np.stack([ours, daily], axis=1))
    shares = np.concatenate(found).mean(axis=0)
    return float(shares[0]), float(shares[1])


def _daily_p_values(num_worlds: int, random: np.random.Generator) -> np.ndarray:
    """(worlds, 365, columns): the chi-square test of `p_of_counts`, all at once."""
    shares = np.full(_LEVELS, 1 / _LEVELS)
    old = random.multinomial(2_000, shares, size=(num_worlds, 1, _COLUMNS)).astype(float)
    new = random.multinomial(500, shares, size=(num_worlds, 365, _COLUMNS)).astype(float)
    both = old + new
    # 2,000 of the 2,500 rows are known ones: 0.8.
    squares = np.square(old - both * 0.8) / (both * 0.8) + np.square(new - both * 0.2) / (both * 0.2)
    return np.asarray(chdtrc(_LEVELS - 1, squares.sum(axis=-1)))


def _e_values(p_values: np.ndarray) -> np.ndarray:
    assert abs(e_value_of(0.01) - 0.1 * 0.01**-0.9) < 1e-9, "the formula below is that of e_value_of"
    return np.asarray(0.1 * p_values**-0.9)
