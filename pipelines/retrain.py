"""The main job: new labels in, a better champion out, or nothing changed."""

from kfp import dsl

from components.canary_deploy.component import canary_deploy
from components.drift_check.component import drift_check
from components.evaluate.component import evaluate
from components.finetune.component import finetune
from components.ingest.component import ingest
from components.notify.component import notify
from components.register.component import register
from components.rollback.component import rollback
from components.validate.component import validate
from pipelines.parts import with_settings


def _roll_out(task: str, run_key: str, trained: dsl.PipelineTask, judged: dsl.PipelineTask) -> None:
    """What follows a challenger that passed its gate."""
    registered = with_settings(
        register(
            task=task,
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            run_key=run_key,
            model=trained.outputs["model"],
            verdict=judged.outputs["verdict"],
            metrics=judged.outputs["metrics"],
        )
    )
    rolled_out = with_settings(
        canary_deploy(
            task=task,
            model_version=registered.outputs["model_version"],
            model_digest=registered.outputs["model_digest"],
            model_uri=registered.outputs["model_uri"],
            dataset_version=registered.outputs["dataset_version"],
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


@dsl.pipeline(name="retrain", description="Fine-tune the champion on new labels and promote what is better.")
def retrain(task: str, run_key: str = ""):
    """task: name of the task file. run_key: identity of the trigger; empty when a person started it by hand."""
    told = with_settings(notify(task=task, run_key=run_key, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER))
    with dsl.ExitHandler(told, name="retrain"):
        ingested = with_settings(
            ingest(
                task=task,
                run_key=run_key,
                run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                run_name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
            )
        )
        with dsl.If(ingested.outputs["turn_name"] == "current", name="run-is-current"):
            validated = with_settings(
                validate(
                    task=task,
                    version=ingested.outputs["version"],
                    run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                    incoming=ingested.outputs["incoming"],
                    reference=ingested.outputs["reference"],
                    manifest=ingested.outputs["manifest"],
                    rejected=ingested.outputs["rejected"],
                )
            )
            with dsl.If(validated.outputs["verdict_name"] == "accepted", name="data-accepted"):
                with_settings(
                    drift_check(
                        task=task,
                        version=ingested.outputs["version"],
                        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                        incoming=ingested.outputs["incoming"],
                        reference=ingested.outputs["reference"],
                    )
                )
                trained = with_settings(
                    finetune(task=task, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, manifest=ingested.outputs["manifest"])
                )
                judged = with_settings(
                    evaluate(
                        task=task,
                        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                        manifest=ingested.outputs["manifest"],
                        model=trained.outputs["model"],
                    )
                )
                with dsl.If(judged.outputs["verdict_name"] == "passed", name="challenger-passed"):
                    _roll_out(task, run_key, trained, judged)
