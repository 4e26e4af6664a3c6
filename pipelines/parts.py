"""What our pipelines have in common."""

from kfp import dsl, kubernetes

from components.canary_deploy.component import canary_deploy
from components.rollback.component import rollback
from ratchet.settings import variable_names

SETTINGS_SECRET = "ratchet"  # noqa: S105 - the name of a Secret, not its value


def with_settings(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a task the settings, from the Secret `ratchet`, and never serve it from KFP's cache.

    Every step asks the world (which labels are pending, who is champion), which is in no cache key.
    """
    kubernetes.use_secret_as_env(
        task, secret_name=SETTINGS_SECRET, secret_key_to_env={name: name for name in variable_names()}
    )
    return task.set_caching_options(False)


def canary_or_back(task: str, chosen: dsl.PipelineTask) -> None:
    """Roll out the model that `chosen` names, and take it back when it is not promoted."""
    rolled_out = with_settings(
        canary_deploy(
            task=task,
            model_version=chosen.outputs["model_version"],
            model_digest=chosen.outputs["model_digest"],
            model_uri=chosen.outputs["model_uri"],
            dataset_version=chosen.outputs["dataset_version"],
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        )
    )
    with dsl.If(rolled_out.outputs["verdict_name"] != "promoted", name="not-promoted"):
        with_settings(
            rollback(
                task=task,
                reason=f"canary {rolled_out.outputs['verdict_name']}",
                run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            )
        )
