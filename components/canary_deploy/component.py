"""The contract of canary_deploy. It changes the world: the pipeline must not cache it."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def canary_deploy(
    task: str,
    model_version: str,
    model_digest: str,
    model_uri: str,
    dataset_version: str,
    run_id: str,
    verdict: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> NamedTuple("Outputs", [("verdict_name", str)]):
    """Serve the challenger to 10, 50, 100 % of live traffic.

    Gives "promoted", "rolled_back", "inconclusive" or "no_traffic".
    """
    from pathlib import Path

    from components.canary_deploy.step import canary_deploy_step
    from ratchet.core.models.ledger import ModelRef
    from ratchet.core.rollout.policy import RolloutPolicy
    from ratchet.wiring import policy, rollout_ports, step_of_run

    with step_of_run("canary_deploy", task=task, run_id=run_id) as told:
        verdict_name = canary_deploy_step(
            rollout_ports(),
            task=task,
            model=ModelRef(version=model_version, digest=model_digest, uri=model_uri, dataset_version=dataset_version),
            run_id=run_id,
            policy=policy(task, "rollout", RolloutPolicy),
            verdict_path=Path(verdict.path),
            report_path=Path(report.path),
        )
        told.verdict(verdict.path)
    return (verdict_name,)
