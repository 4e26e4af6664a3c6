"""The contract of rollback. It changes the world: the pipeline must not cache it."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def rollback(task: str, reason: str, run_id: str) -> NamedTuple("Outputs", [("champion", str)]):
    """Close an open canary, else go back to the champion before; gives the version that serves afterwards."""
    from components.rollback.step import rollback_step
    from ratchet.core.rollout.policy import RolloutPolicy
    from ratchet.wiring import policy, rollout_ports, step_of_run

    with step_of_run("rollback", task=task, run_id=run_id, is_run_recorded=False):
        rollout_policy = policy(task, "rollout", RolloutPolicy)
        champion = rollback_step(rollout_ports(), task=task, reason=reason, run_id=run_id, policy=rollout_policy)
    return (champion,)
