"""What our pipelines have in common."""

from kfp import dsl, kubernetes

from components.canary_deploy.component import canary_deploy
from components.rollback.component import rollback
from ratchet.core.errors import FINAL
from ratchet.settings import task_variable_names

SETTINGS_SECRET = "ratchet"  # noqa: S105 - the name of a Secret, not its value
NUM_RETRIES = 3
_FIRST_WAIT = "5s"
"""Doubles with each retry: 35 s in all, about what a server takes to be started again."""
_LONGEST = "3600s"
"""From the start of the first attempt; KFP's own limit. A step that is killed later than that fails its run, and the
next run takes over what had finished."""
_FINAL_EXIT_CODES = "ratchet/final-exit-codes"
"""An annotation that the embedded backend reads: a step that ends with one of these codes is not retried. A cluster
retries it, and the step then ends at once with the same error (`ratchet.stores.run_outcomes`)."""


def with_settings(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a task the settings, from the Secret `ratchet`; retry it when it is killed; never serve it from KFP's cache.

    Every step asks the world (which labels are pending, who is champion), which is in no cache key. Every step may be
    killed anywhere and repeated; its docstring says why, and tests/components/test_killed_steps.py holds it to that.
    """
    kubernetes.use_secret_as_env(
        task, secret_name=SETTINGS_SECRET, secret_key_to_env={name: name for name in task_variable_names()}
    )
    final_codes = ",".join(str(kind.exit_code) for kind in FINAL)
    kubernetes.add_pod_annotation(task, annotation_key=_FINAL_EXIT_CODES, annotation_value=final_codes)
    task.set_retry(NUM_RETRIES, backoff_duration=_FIRST_WAIT, backoff_factor=2, backoff_max_duration=_LONGEST)
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
