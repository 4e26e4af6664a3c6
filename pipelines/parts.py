"""What our pipelines have in common."""

from collections.abc import Mapping
from typing import Any

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


def with_resources(task: dsl.PipelineTask, asked: Mapping[str, Any]) -> dsl.PipelineTask:
    """Let a task ask for what the task file's policy says, as `ingest` read it (`ratchet.core.models.resources`).

    By outputs of a step and not by inputs of the run: a run that a person or a schedule starts in KFP asks for the same
    as one of the sensor, and one compiled pipeline serves all tasks.
    """
    # kfp hands channels of resources from one DAG to the next only where the task is told of them.
    task.register_pipeline_channels([asked[name] for name in ("cpu", "memory", "accelerator", "num_accelerators")])
    task.set_cpu_limit(asked["cpu"])
    task.set_memory_limit(asked["memory"])
    task.set_accelerator_type(asked["accelerator"])
    task.set_accelerator_limit(asked["num_accelerators"])
    kubernetes.add_node_selector_json(task, asked["node_selector"])
    kubernetes.add_toleration_json(task, asked["tolerations"])
    # A container has 64 MiB there, and nccl and gloo hand over gradients by it. No size: KFP knows no parameter for it,
    # and what lies there counts against the task's memory limit anyway.
    return kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory")  # noqa: S108


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
