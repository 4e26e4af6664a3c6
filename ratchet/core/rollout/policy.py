"""The reviewed numbers of a rollout (`configs/policies/rollout.yaml`)."""

from itertools import pairwise
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RolloutPolicy(BaseModel):
    """When a canary gains traffic and when it goes back; its digest goes into every run.

    Harm is a difference, canary minus stable, of the share of requests that err, and of the share that are slow. It is
    promoted once it is proven to be under the margin, and rolled back once it is proven to be over the tolerance;
    between the two either may happen first, and neither is a mistake.

    With these defaults a canary without errors needs 107 requests to be proven harmless (194 with one error, 260 with
    two); one that errs on 20 % of its requests is caught after 28 in the median and within 60 in 97 of 100 cases, one
    that errs on 15 % after 44, on 10 % after 76 (stable errs on 0.2 %, 10 % of the traffic). Of 10,000 canaries as
    good as stable none was rolled back. `tests/unit/test_sequential.py` holds these counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_pct_steps: tuple[int, ...] = Field((10, 50, 100), min_length=2)
    """Per cent of live requests, step by step, strictly rising; all but the last are judged, 100 is the promotion."""
    error_margin: float = Field(0.035, gt=0, lt=1)
    """Harm in errors (0..1) that must be excluded before the canary gains traffic. Halving it doubles the wait."""
    error_tolerance: float = Field(0.01, ge=0, lt=1)
    """Harm in errors that is no reason to go back: the canary goes back when it is proven to do more."""
    slow_margin: float = Field(0.05, gt=0, lt=1)
    """As `error_margin`, for slow requests. Wider: a shared machine makes a few requests slow in either arm."""
    slow_tolerance: float = Field(0.02, ge=0, lt=1)
    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Chance that a canary with harm within the tolerances is ever rolled back by the bounds, and that one with harm
    beyond a margin is ever promoted, over the whole rollout. `sequential.py` says how it is split."""
    min_requests: int = Field(60, ge=1)
    """Canary requests that each step must see before it may advance, whatever the bounds say."""
    min_bad_requests: int = Field(5, ge=1)
    """Errors (or slow requests) below which no ratio condemns: a blip of two or three is not a pattern."""
    latency_limit_ms: float | None = Field(200.0, gt=0)
    """A request over this is slow. Beside a factor it is the floor: twice of 3 ms harms nobody."""
    latency_limit_factor: float | None = Field(2.0, gt=1)
    """A request over this many times stable's `latency_limit_quantile` is slow; None looks at the floor alone."""
    latency_limit_quantile: float = Field(0.95, gt=0, lt=1)
    latency_baseline_requests: int = Field(100, ge=20)
    """Requests of stable from which its quantile is taken, once, before any latency counts."""
    warm_up_requests: int = Field(10, ge=0)
    """First canary requests whose latency does not count: a fresh process fills its caches. Errors always count."""
    tripwire_errors: int = Field(8, ge=3)
    """Canary errors in a row, with no success between, that end the rollout at once. At 10 % errors 8 in a row come
    once in 10^8."""
    not_ready_s_max: float = Field(3.0, gt=0)
    """How long a canary that carries traffic may be unready."""
    hold_s_max: float = Field(600.0, gt=0)
    """Longest stay at one step without a decision; then `on_inconclusive`."""
    blind_s_max: float = Field(30.0, gt=0)
    """Longest time without traffic numbers (the metrics backend is down); then `on_inconclusive`."""
    on_inconclusive: Literal["withdraw", "roll_back"] = "withdraw"
    """withdraw: the canary closes and may be tried again. roll_back: it also goes on the deny-list."""
    look_interval_s: float = Field(0.5, gt=0)
    """Time between two looks. The bounds hold at every look, so it costs no certainty to look often."""
    ready_s_max: float = Field(180.0, gt=0)
    """How long a new revision may take to become ready."""

    @property
    def judged_steps(self) -> tuple[int, ...]:
        """The weights at which stable and canary share the traffic and are compared."""
        return self.weight_pct_steps[:-1]

    @model_validator(mode="after")
    def _steps_rise_to_100(self) -> Self:
        rises = all(low < high for low, high in pairwise(self.weight_pct_steps))
        if not rises or self.weight_pct_steps[0] < 1 or self.weight_pct_steps[-1] != 100:
            raise ValueError("weight_pct_steps must rise strictly, from 1 or more to exactly 100")
        return self

    @model_validator(mode="after")
    def _tolerances_are_within_margins(self) -> Self:
        if self.error_tolerance > self.error_margin or self.slow_tolerance > self.slow_margin:
            raise ValueError("a tolerance must not be over its margin: what must be excluded cannot be tolerated")
        return self

    @model_validator(mode="after")
    def _slow_is_defined(self) -> Self:
        if self.latency_limit_ms is None and self.latency_limit_factor is None:
            raise ValueError("set latency_limit_ms, latency_limit_factor or both: nothing else says what slow is")
        return self
