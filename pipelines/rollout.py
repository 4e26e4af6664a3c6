"""Roll out a model that is registered already, through the same canary as a fresh one."""

from kfp import dsl

from components.choose_model.component import choose_model
from components.notify.component import notify
from pipelines.parts import canary_or_back, with_settings


@dsl.pipeline(name="rollout", description="Roll out a registered model through the canary.")
def rollout(task: str, version: str, run_key: str = ""):
    """version: in the registry, or a model's digest. run_key: of `ratchet rollout start`; empty when started in KFP."""
    told = with_settings(notify(task=task, run_key=run_key, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER))
    with dsl.ExitHandler(told, name="rollout"):
        chosen = with_settings(
            choose_model(
                task=task,
                version=version,
                run_key=run_key,
                run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
            )
        )
        with dsl.If(chosen.outputs["turn_name"] == "current", name="run-is-current"):
            canary_or_back(task, chosen)
