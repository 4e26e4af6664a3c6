"""What a challenger says and takes in the real model server, and whether the policy bears it. Pure.

Other work on a machine makes a sound model look slow, and never a slow one fast. So a limit is held against what such
noise moves least: the shortest of a few starts, and the lower bound of the 99th percentile of a few looks, whichever
look has the lowest. A start or a look is repeated only where its limit is not held yet, so a sound model on a quiet
machine is measured once. Memory is what the server has for itself, and its share of what it has together with others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import bdtrc

from ratchet.core.labels.answers import Answers
from ratchet.core.verdict import Reason

Precision = Literal["float64", "float32", "float16", "bfloat16"]
DISTANCES: dict[Precision, float] = {"float64": 1e-6, "float32": 1e-3, "float16": 1e-2, "bfloat16": 3e-2}
"""How far a served probability may lie from the offline one, by the least precise weights. Another batch size sums in
another order: a logit of 8 then differs by a few of its last digits, which are 1e-6 of it in 24 bits, 1e-3 in 11 and
8e-3 in 8, and a probability by a quarter of that. Ten times as much is left for layers that amplify it."""
_SHARE = 0.99


class ServingBudget(BaseModel):
    """What the model server may take for a challenger (`serving:` of configs/policies/evaluation.yaml). Without a limit
    a number is measured and told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    load_s_max: float | None = Field(None, gt=0, allow_inf_nan=False)
    """From the start of a model server's process until it is ready: its imports too, as where a pod starts."""
    latency_ms_p99_max: float | None = Field(None, gt=0, allow_inf_nan=False)
    """99th percentile of the time that a request of one row takes, seen by a client on the same machine."""
    memory_mb_max: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Proportional set size (PSS) after the requests."""
    requests_per_s: float = Field(50, gt=0, le=1000)
    """The stated load. Requests go out at their times, whether the ones before are answered or not."""
    num_requests: int = Field(100, ge=20, le=10_000)
    """Of a look. With 100 the bound is the 97th in order, with 1,000 the 985th."""
    num_tries: int = Field(3, ge=1, le=10)
    """Most starts, and most looks, of a challenger that is over its limit."""
    distance_max: float | None = Field(None, ge=0, le=1)
    """How far any served probability may lie from the offline one. None: by the precision of the weights."""


@dataclass(frozen=True)
class ServingEvidence:
    """What was seen of one challenger."""

    probability_N: Sequence[float] | None = None
    """Served, of the answer to each test row; None: of a number."""
    precision: Precision = "float32"
    loads_s: Sequence[float] = ()
    """Of each start."""
    looks_ms: Sequence[Sequence[float]] = ()
    """The times of all requests, of each look."""
    memory_mb: float | None = None
    problem: str = ""
    """Why there are no looks, or not all."""


def is_start_due(loads_s: Sequence[float], budget: ServingBudget) -> bool:
    limit = budget.load_s_max
    return not loads_s or (limit is not None and min(loads_s) > limit and len(loads_s) < budget.num_tries)


def is_look_due(looks_ms: Sequence[Sequence[float]], budget: ServingBudget, *, confidence: float) -> bool:
    limit = budget.latency_ms_p99_max
    if not looks_ms:
        return True
    return limit is not None and least_p99_of(looks_ms, confidence) > limit and len(looks_ms) < budget.num_tries


def p99_of(times: Sequence[float]) -> float:
    """The least time within which 99 of 100 were answered."""
    return sorted(times)[int(np.ceil(_SHARE * len(times))) - 1]


def p99_bound_of(times: Sequence[float], confidence: float) -> float:
    """Its one-sided lower bound, whatever the law of the times: the greatest one in order that lies below the true 99th
    percentile often enough, because that many of them do by the binomial law. The least one where none does."""
    num = len(times)
    is_below = bdtrc(np.arange(num), num, _SHARE) >= confidence
    return sorted(times)[max(int(is_below.sum()), 1) - 1]


def least_p99_of(looks_ms: Sequence[Sequence[float]], confidence: float) -> float:
    return min(p99_bound_of(look, confidence) for look in looks_ms)


def check_serving(
    evidence: ServingEvidence | None, offline: Answers, budget: ServingBudget, *, confidence: float
) -> list[Reason]:
    """One reason for each of what was seen; a limit without a measurement refuses."""
    limits = (budget.load_s_max, budget.latency_ms_p99_max, budget.memory_mb_max)
    if evidence is None:
        if not any(limits):
            return []
        evidence = ServingEvidence(problem="nothing of the model server was measured")
    distance = [_check_distance(evidence, offline, budget)] if evidence.probability_N is not None else []
    return [
        *distance,
        _check_load(evidence, budget),
        _check_latency(evidence, budget, confidence),
        _check_memory(evidence, budget),
    ]


def _check_distance(evidence: ServingEvidence, offline: Answers, budget: ServingBudget) -> Reason:
    assert evidence.probability_N is not None and offline.probability_B is not None, "only a number has none"
    limit = DISTANCES[evidence.precision] if budget.distance_max is None else budget.distance_max
    distance = float(np.abs(np.asarray(evidence.probability_N) - offline.probability_B).max(initial=0.0))
    return Reason(
        check="serving_probability",
        value=distance,
        limit=limit,
        passed=distance <= limit,
        text=f"a probability of the model server differs by {distance:.2g} at most; limit {limit:g} "
        f"({evidence.precision})",
    )


def _check_load(evidence: ServingEvidence, budget: ServingBudget) -> Reason:
    limit, loads_s = budget.load_s_max, evidence.loads_s
    value = min(loads_s, default=None)
    told = f"the model server was ready {value:.1f} s after its start" if value is not None else ""
    tries = f" (the shortest of {len(loads_s)} starts)" if len(loads_s) > 1 else ""
    return _reason("serving_load", value, limit, f"{told}{tries}", unit="s", of="load_s_max", problem=evidence.problem)


def _check_latency(evidence: ServingEvidence, budget: ServingBudget, confidence: float) -> Reason:
    limit, looks_ms = budget.latency_ms_p99_max, evidence.looks_ms
    if not looks_ms:
        return _reason("serving_latency", None, limit, "", unit="ms", of="latency_ms_p99_max", problem=evidence.problem)
    best = min(looks_ms, key=lambda look: p99_bound_of(look, confidence))
    bound = p99_bound_of(best, confidence)
    tries = f", the best of {len(looks_ms)} looks" if len(looks_ms) > 1 else ""
    text = (
        f"99 of 100 requests are answered within {p99_of(best):.1f} ms at {budget.requests_per_s:g} requests/s "
        f"(at least {bound:.1f} ms by the {confidence:.0%} bound of {len(best)} requests{tries}; median "
        f"{np.median(best):.1f} ms)"
    )
    return _reason("serving_latency", bound, limit, text, unit="ms", of="latency_ms_p99_max", problem="")


def _check_memory(evidence: ServingEvidence, budget: ServingBudget) -> Reason:
    value, limit = evidence.memory_mb, budget.memory_mb_max
    text = f"the model server takes {value:.0f} MB of memory" if value is not None else ""
    problem = evidence.problem or "this system does not tell the memory of a process (Linux does)"
    return _reason("serving_memory", value, limit, text, unit="MB", of="memory_mb_max", problem=problem)


def _reason(
    check: str, value: float | None, limit: float | None, text: str, *, unit: str, of: str, problem: str
) -> Reason:
    """of: the field that limits it. Without a limit it is told."""
    said = text or f"{check} was not measured: {problem}"
    told = f"limit {limit:g} {unit}" if limit is not None else f"no limit is set (`serving.{of}`)"
    passed = limit is None or (value is not None and value <= limit)
    return Reason(check=check, value=value, limit=limit, passed=passed, text=f"{said}; {told}")
