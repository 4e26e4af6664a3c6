"""The main job: new labels in, a better champion out, or nothing changed."""

from kfp import dsl

from components.drift_check.component import drift_check
from components.evaluate.component import evaluate
from components.finetune.component import finetune
from components.ingest.component import ingest
from components.notify.component import notify
from components.register.component import register
from components.validate.component import validate
from pipelines.parts import canary_or_back, with_resources, with_settings


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
    canary_or_back(task, registered)


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
                with_resources(trained, ingested.outputs)
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
