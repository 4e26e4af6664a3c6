"""The KFP contract of `evaluate`."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def evaluate(
    task: str,
    run_id: str,
    manifest: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    classification: dsl.Output[dsl.ClassificationMetrics],
    verdict: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("verdict_name", str)]):
    """Compare the challenger with the champion on the same rows: "passed" or "refused"."""
    from pathlib import Path

    from components.evaluate.page import show
    from components.evaluate.refused import note_refused
    from components.evaluate.step import evaluate_step
    from ratchet import wiring
    from ratchet.core.labels.dataset import Manifest
    from ratchet.core.models.evaluation import REFUSED, EvaluationPolicy
    from ratchet.core.models.page.parts import JudgedRows

    judged_rows: list[JudgedRows] = []
    with wiring.step_of_run("evaluate", task=task, run_id=run_id) as told:
        judged, numbers = evaluate_step(
            wiring.task_spec(task),
            Manifest.model_validate_json(Path(manifest.path).read_bytes()),
            Path(model.path),
            policy=wiring.policy(task, "evaluation", EvaluationPolicy),
            datasets=wiring.dataset_store(),
            objects=wiring.object_store(),
            ledger=wiring.ledger(),
            probe=wiring.model_probe(),
            finished=wiring.finished_steps(task, run_id),
            pinned=wiring.pinned_rows(task),
            judgements=wiring.judgements(),
            tell=judged_rows.append,
        )
        Path(verdict.path).write_text(judged.model_dump_json(indent=2))
        told.verdict(verdict.path)
    for name, value in numbers.items():
        metrics.log_metric(name, value)
    show(judged_rows, judged, task=task, report_path=Path(report.path), classification=classification)
    if judged.verdict == REFUSED:
        note_refused(wiring.registry(), judged, numbers, task=task, run_id=run_id, model_path=Path(model.path))
    return (judged.verdict,)
