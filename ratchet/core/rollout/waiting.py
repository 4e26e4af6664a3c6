"""How long a rollout waits, phase by phase, and what it then says. Pure.

Each wait has one limit, and its text shows the number and the limit side by side.
"""

from ratchet.core.rollout.checks import DARK_REQUESTS, HELD, NO_TRAFFIC
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Progress
from ratchet.core.verdict import Reason


def is_out_of_time(progress: Progress, policy: RolloutPolicy) -> bool:
    return not check_held(progress, policy).passed


def deadline_of(progress: Progress, policy: RolloutPolicy) -> float:
    """When waiting in this phase and step ends if no request comes, in seconds since the rollout began."""
    held_s = progress.step_began_s + _hold_limit_s(progress, policy)
    if not _ends_by_silence(progress, policy):
        return held_s
    return min(held_s, progress.silent_since_s + _silence_limit_s(progress, policy))


def check_dark(progress: Progress, policy: RolloutPolicy) -> Reason:
    """Enough mirrored requests; or none will come, which is known when stable had some and time is over."""
    num, num_stable = progress.recent.canary.num_requests, progress.recent.stable.num_requests
    waited_s = progress.now_s - progress.step_began_s
    cannot_mirror = num == 0 and num_stable >= policy.mirror_requests_min and waited_s >= policy.mirror_s_max
    is_over = waited_s >= policy.dark_s_max and num_stable > 0
    text = f"{num} mirrored requests, {policy.dark_requests} needed, {_dark_wait(waited_s, num_stable, policy)}"
    if cannot_mirror:
        text += f"; stable had {num_stable}: the gateway mirrors none, so live requests are the first evidence"
    return Reason(
        check=DARK_REQUESTS,
        value=num,
        limit=policy.dark_requests,
        passed=num >= policy.dark_requests or is_over or cannot_mirror,
        text=text,
    )


def check_held(progress: Progress, policy: RolloutPolicy) -> Reason:
    """Whether this phase and step may last longer."""
    held_s, limit_s = progress.now_s - progress.step_began_s, _hold_limit_s(progress, policy)
    where = progress.phase if progress.phase != "live" else f"at {progress.weight_pct} %"
    return Reason(
        check=HELD,
        value=round(held_s, 3),
        limit=limit_s,
        passed=held_s < limit_s,
        text=f"{held_s:.1f} s {where}, limit {limit_s:g} s",
    )


def check_silence(progress: Progress, policy: RolloutPolicy) -> Reason:
    """Whether either revision has had a request lately. It does not fail where the policy waits all the same."""
    silent_s, limit_s = progress.now_s - progress.silent_since_s, _silence_limit_s(progress, policy)
    return Reason(
        check=NO_TRAFFIC,
        value=round(silent_s, 3),
        limit=limit_s,
        passed=silent_s < limit_s or not _ends_by_silence(progress, policy),
        text=f"no traffic: no request to either revision for {silent_s:.1f} s, limit {limit_s:g} s",
    )


def _dark_wait(waited_s: float, num_stable: int, policy: RolloutPolicy) -> str:
    """Without requests to stable there is nothing to copy: that wait has another limit (`check_silence`)."""
    if num_stable == 0:
        return "but stable had no request to copy"
    if waited_s >= policy.dark_s_max:
        return f"within {policy.dark_s_max:g} s"
    return f"after {waited_s:.1f} of {policy.dark_s_max:g} s"


def _hold_limit_s(progress: Progress, policy: RolloutPolicy) -> float:
    return policy.withdrawn_s_max if progress.phase == "withdrawn" else policy.hold_s_max


def _silence_limit_s(progress: Progress, policy: RolloutPolicy) -> float:
    limit_s = min(policy.no_traffic_s_max, policy.hold_s_max)
    return min(limit_s, policy.dark_s_max) if progress.phase == "dark" else limit_s


def _ends_by_silence(progress: Progress, policy: RolloutPolicy) -> bool:
    """A withdrawn canary waits out its own limit: there is a suspicion against it."""
    return policy.on_no_traffic != "wait" and progress.phase != "withdrawn"
