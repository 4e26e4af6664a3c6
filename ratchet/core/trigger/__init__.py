"""When a run starts: the pure decision of when money is spent. `plan_tick` says how its gates stand to each other."""

from ratchet.core.trigger.facts import (
    UNKNOWN_CODE,
    Backlog,
    Check,
    CodeState,
    Explanation,
    LastRun,
    Rival,
    RunEnd,
    RunEndState,
    RunStart,
    Skip,
    SkipCode,
    Trigger,
    TriggerCode,
)
from ratchet.core.trigger.hours import Hours, Window
from ratchet.core.trigger.identity import RETRAIN, ROLLOUT, run_key_of, run_name_of
from ratchet.core.trigger.plan import explain, plan_request, plan_tick
from ratchet.core.trigger.policy import Adaptive, Condition, TriggerPolicy
from ratchet.core.trigger.threshold import threshold_at

__all__ = [
    "RETRAIN",
    "ROLLOUT",
    "UNKNOWN_CODE",
    "Adaptive",
    "Backlog",
    "Check",
    "CodeState",
    "Condition",
    "Explanation",
    "Hours",
    "LastRun",
    "Rival",
    "RunEnd",
    "RunEndState",
    "RunStart",
    "Skip",
    "SkipCode",
    "Trigger",
    "TriggerCode",
    "TriggerPolicy",
    "Window",
    "explain",
    "plan_request",
    "plan_tick",
    "run_key_of",
    "run_name_of",
    "threshold_at",
]
