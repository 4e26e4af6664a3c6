"""The KFP contract of `validate`."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def validate(
    task: str,
    version: str,
    run_id: str,
    incoming: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Dataset],
    manifest: dsl.Input[dsl.Artifact],
    rejected: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    verdict: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("verdict_name", str)]):
    """May these labels teach a model? "accepted" or "refused", with the reasons."""
    from components.validate.step import Paths, Stores, validate_step
    from ratchet import wiring
    from ratchet.core.labels.quality import QualityPolicy

    with wiring.step_of_run("validate", task=task, run_id=run_id) as told:
        verdict_name = validate_step(
            wiring.task_spec(task),
            version=version,
            policy=wiring.policy(task, "quality", QualityPolicy),
            stores=Stores(
                labels=wiring.label_store(),
                verdicts=wiring.verdicts(),
                contents=wiring.contents(),
                signals=wiring.signals(),
                findings=wiring.findings(),
                datasets=wiring.dataset_store(),
                signatures=wiring.example_signatures(),
            ),
            paths=Paths(incoming.path, reference.path, manifest.path, rejected.path, report.path, verdict.path),
        )
        told.verdict(verdict.path)
    return (verdict_name,)
