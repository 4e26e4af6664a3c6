"""The reviewed numbers of a rollout (`configs/policies/rollout.yaml`)."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RolloutPolicy(BaseModel):
    """When a canary gains traffic, loses it for a while, and goes back; its digest goes into every run.

    Harm is a difference, canary minus stable, of the share of requests that err, and of the share that are slow. Beyond
    the tolerance the fast test withdraws the canary's traffic, which can be undone, and the slow test condemns it. It
    is promoted once its harm is proven to be under the margin. docs/decisions/0006 says why there are two tests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_pct_steps: tuple[int, ...] = Field((10, 50, 100), min_length=2)
    """Per cent of live requests, step by step, strictly rising; all but the last are judged, 100 is the promotion."""
    approval_at_pct: tuple[int, ...] = ()
    """Weights that the canary gets only after `ratchet rollout approve`."""

    dark_requests: int = Field(500, ge=0)
    """Mirrored requests that the canary answers before its first user sees it; 0 leaves the dark phase out."""
    dark_s_max: float = Field(900.0, gt=0)
    """Longest wait for them: where little comes, the live phase begins without; where nothing comes, see
    `on_no_traffic`."""
    mirror_s_max: float = Field(30.0, gt=0)
    """Longest wait for the first of them while stable answers `mirror_requests_min`: then none can be had here."""
    mirror_requests_min: int = Field(20, ge=1)

    error_margin: float = Field(0.02, gt=0, lt=1)
    """Harm in errors (0..1) that must be excluded before the canary gains traffic. Halving it doubles the wait."""
    error_tolerance: float = Field(0.001, ge=0, lt=1)
    """Harm in errors that is no reason to withdraw or to condemn."""
    error_gross: float = Field(0.1, gt=0, lt=1)
    """Harm in errors that no burst explains: proven to be over this, the canary is condemned within seconds."""
    slow_margin: float = Field(0.05, gt=0, lt=1)
    """As `error_margin`, for slow requests. Wider: a shared machine makes a few requests slow in either arm."""
    slow_tolerance: float = Field(0.005, ge=0, lt=1)
    slow_gross: float = Field(0.15, gt=0, lt=1)

    latency_limit_ms: float | None = Field(50.0, gt=0)
    """No request under this is slow. Beside a factor it is the floor: 3 ms instead of 2 harm nobody."""
    latency_limit_factor: float | None = Field(1.15, ge=1)
    """A request over this many times stable's quantile is slow; None looks at the floor alone."""
    latency_limit_quantile: float = Field(0.95, gt=0, lt=1)
    latency_late_quantile: float = Field(0.75, gt=0, lt=1)
    """A second, lower limit for the fast test: a shift of all requests shows there long before it shows in the tail."""
    latency_very_slow_ms: float = Field(250.0, gt=0)
    """No request under this is very slow."""
    latency_very_slow_factor: float | None = Field(10.0, gt=1)
    """A request over this many times stable's usual latency (`latency_late_quantile`) is as good as failed: it counts
    in the test of errors, by `error_margin`. None counts none. A tail that stable has too is no harm."""
    latency_baseline_requests: int = Field(100, ge=20)
    """Requests of stable from which its quantiles are taken, once, before any latency counts."""
    warm_up_requests: int = Field(10, ge=0)
    """First canary requests whose latency does not count: a fresh process fills its caches. Errors always count."""

    disagreement_max: float = Field(0.4, gt=0, lt=1)
    """Share of mirrored requests that the canary may answer otherwise than stable. Too much is not by itself wrong."""
    score_shift_reported: float = Field(0.2, gt=0, lt=1)
    """A difference between the revisions' cumulative distributions of the top-class probability that is reported when
    it is proven. It holds nothing by itself: a model that is better calibrated, or simply trained once more, should
    shift its scores; harm is what its answers do. Was `score_shift_max`, which held."""
    on_disagreement: Literal["ignore", "hold", "withdraw"] = "hold"
    """What proven disagreement does. hold: no further step without an approval."""
    accuracy_margin: float = Field(0.05, gt=0, lt=1)
    """Harm in delayed-label accuracy that condemns when it is proven."""
    accuracy_tolerance: float = Field(0.01, ge=0, lt=1)
    """Harm in delayed-label accuracy that is no reason to withdraw."""

    alpha_withdraw: float = Field(0.05, gt=0, lt=0.5)
    """Chance that a canary with harm within the tolerances ever loses its traffic, over the whole rollout, however
    often we look. `evidence.py` says how each alpha is split."""
    alpha_condemn: float = Field(0.01, gt=0, lt=0.5)
    """Chance that such a canary is ever condemned."""
    alpha_advance: float = Field(0.01, gt=0, lt=0.5)
    """Chance that a canary with harm beyond a margin is ever promoted."""
    alpha_share: float = Field(0.001, gt=0, lt=0.5)
    """Chance that a gateway which routes as it was told is suspected not to."""

    burst_s: float = Field(60.0, gt=0)
    """Errors of one revision within this time may have one cause (a bad node, a noisy neighbour): the slow test gives
    each such block one vote."""
    min_requests: int = Field(60, ge=1)
    """Canary requests that each step must see before it may advance, whatever the bounds say."""
    min_bad_requests: int = Field(3, ge=1)
    """Errors (or slow requests) below which no ratio withdraws: a blip of two is not a pattern."""
    tripwire_errors: int = Field(8, ge=3)
    """Canary errors in a row, with no success between, that condemn at once, when stable answers the same kind of
    requests meanwhile: a client that breaks both revisions alike proves nothing (`evidence.row_wealth_after`)."""
    not_ready_s_max: float = Field(3.0, gt=0)
    """How long a canary with traffic may be unready: then it is withdrawn, and after ten times that condemned."""

    no_traffic_s_max: float = Field(120.0, gt=0)
    """Longest time, in the dark or at one step, in which neither revision gets a request; then `on_no_traffic`. On one
    machine nobody may be asking, and a task whose rollout waits trains on nothing new. A service with quiet hours
    wants more. `dark_s_max` and `hold_s_max` bound it too."""
    on_no_traffic: Literal["withdraw", "wait", "advance"] = "withdraw"
    """withdraw: the canary closes with the outcome "no_traffic", neither promoted nor refused, and `ratchet rollout
    start` tries it again. wait: until `hold_s_max`, then `on_inconclusive`. advance: a step that saw no request at all
    counts as passed, for machines without users; a model can become champion that way with no evidence but its gate."""
    hold_s_max: float = Field(1800.0, gt=0)
    """Longest stay at one step without a decision; then `on_inconclusive`."""
    withdrawn_s_max: float = Field(900.0, gt=0)
    """Longest time that a withdrawn canary gathers evidence; then `on_inconclusive`."""
    returns_max: int = Field(1, ge=0)
    """How often a withdrawn canary may come back to live traffic."""
    blind_s_max: float = Field(30.0, gt=0)
    """Longest time without traffic numbers (the metrics backend is down); then `on_inconclusive`."""
    on_inconclusive: Literal["withdraw", "roll_back", "ask"] = "withdraw"
    """withdraw: the canary closes and may be tried again. roll_back: it also goes on the deny-list. ask: wait for
    `ratchet rollout approve` or `abort`."""
    on_unproven_fallback: Literal["warn", "block"] = "warn"
    """What happens when the champion, where a rollback would go, cannot be fetched and loaded any more. block: no
    canary. It cannot be mended by waiting, and a good canary is the way out, so warn is the default."""
    ask_s_max: float = Field(3600.0, gt=0)
    """Longest wait for a person, paused, at an approval or when asked; then the canary closes."""
    look_interval_s: float = Field(0.5, gt=0)
    """Time between two looks. The evidence holds at every look, so it costs no certainty to look often."""
    ready_s_max: float = Field(180.0, gt=0)
    """How long a new revision may take to become ready."""

    RENAMED_FIELDS: ClassVar[Mapping[str, str]] = {"score_shift_max": "score_shift_reported"}
    """Old names are still read; `ratchet.config_files` says so."""

    @model_validator(mode="before")
    @classmethod
    def _knows_old_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for old, new in cls.RENAMED_FIELDS.items():
            if old in data and new in data:
                raise ValueError(f"{old} is now {new}; set {new} alone")
        return {cls.RENAMED_FIELDS.get(name, name): value for name, value in data.items()}

    @property
    def judged_steps(self) -> tuple[int, ...]:
        """The weights at which stable and canary share the traffic and are compared."""
        return self.weight_pct_steps[:-1]

    @model_validator(mode="after")
    def _steps_rise_to_100(self) -> Self:
        rises = all(low < high for low, high in pairwise(self.weight_pct_steps))
        if not rises or self.weight_pct_steps[0] < 1 or self.weight_pct_steps[-1] != 100:
            raise ValueError("weight_pct_steps must rise strictly, from 1 or more to exactly 100")
        if not set(self.approval_at_pct) <= set(self.weight_pct_steps):
            raise ValueError("approval_at_pct may only name weights of weight_pct_steps")
        return self

    @model_validator(mode="after")
    def _tolerances_are_within_margins(self) -> Self:
        pairs = (
            (self.error_tolerance, self.error_margin),
            (self.slow_tolerance, self.slow_margin),
            (self.accuracy_tolerance, self.accuracy_margin),
        )
        if any(tolerance >= margin for tolerance, margin in pairs):
            raise ValueError("a tolerance must be under its margin: what must be excluded cannot be tolerated")
        return self

    @model_validator(mode="after")
    def _slow_is_defined(self) -> Self:
        if self.latency_limit_ms is None and self.latency_limit_factor is None:
            raise ValueError("set latency_limit_ms, latency_limit_factor or both: nothing else says what slow is")
        return self
