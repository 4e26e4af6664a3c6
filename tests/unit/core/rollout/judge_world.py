"""Windows, looks and policies for the tests of the judge."""

from collections.abc import Sequence
from typing import Any

from ratchet.core.rollout.history import JudgedLook, replay_looks
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action, Decision, Look, Progress
from ratchet.core.rollout.window import ArmWindow, QualityWindow, Window

POLICY = RolloutPolicy(warm_up_requests=0, dark_requests=0)
DARK = RolloutPolicy(warm_up_requests=0)
FINAL = {Action.ROLL_BACK, Action.INCONCLUSIVE, Action.NO_TRAFFIC}
CLOSED = {"rolled_back", "inconclusive", "no_traffic"}


def arm(num: int, *, errors: int = 0, slow: int = 0, very_slow: int = 0) -> ArmWindow:
    """Very slow ones are slow as well, besides those named so."""
    slow += very_slow
    return ArmWindow(
        num_requests=num,
        num_errors=errors,
        num_timed=num,
        num_slow=slow,
        num_late=slow,
        num_very_slow=very_slow,
    )


def refusing(num: int, num_refused: int) -> ArmWindow:
    """So many answers, and so many requests beside them that were refused (4xx)."""
    return arm(num).model_copy(update={"num_refused": num_refused})


def judge_all(looks: Sequence[Look], policy: RolloutPolicy = POLICY) -> tuple[Progress, tuple[JudgedLook, ...]]:
    return replay_looks(looks, policy)


def looks_of(*windows: Window | None, every_s: float = 1, **fields: Any) -> list[Look]:
    return [
        Look(at_s=number * every_s, window=window, **{"is_routed": False} | fields)
        for number, window in enumerate(windows, 1)
    ]


def judge(*windows: Window | None, policy: RolloutPolicy = POLICY, every_s: float = 1, **fields: Any) -> Decision:
    """The decision after the last of these looks, one after another from the beginning."""
    return judge_all(looks_of(*windows, every_s=every_s, **fields), policy)[1][-1].decision


STABLE = arm(5000)


def window(canary: ArmWindow, stable: ArmWindow = STABLE) -> Window:
    return Window(canary=canary, stable=stable)


def quality(**fields: Any) -> QualityWindow:
    return QualityWindow(**fields)
