"""The KFP contract of `finetune`."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def finetune(
    task: str,
    run_id: str,
    manifest: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    training_log: dsl.Output[dsl.Artifact],
    curves: dsl.Output[dsl.HTML],
) -> NamedTuple("Outputs", [("model_digest", str)]):
    """Train a challenger on a dataset version: fine-tune the champion's network, or grow trees."""
    from pathlib import Path

    from components.finetune.page import write_page
    from components.finetune.step import finetune_step
    from ratchet import wiring
    from ratchet.core.labels.dataset import Manifest

    with wiring.step_of_run("finetune", task=task, run_id=run_id):
        digest, last_epoch = finetune_step(
            wiring.task_spec(task),
            Manifest.model_validate_json(Path(manifest.path).read_bytes()),
            datasets=wiring.dataset_store(),
            objects=wiring.object_store(),
            ledger=wiring.ledger(),
            learner=wiring.learner(task, run_id),
            model_path=Path(model.path),
            log_path=Path(training_log.path),
            finished=wiring.finished_steps(task, run_id),
            pinned_ids=wiring.pinned_ids(task),
            draws=wiring.draws(),
        )
        write_page(wiring.task_spec(task), Path(model.path), Path(curves.path))
    model.metadata["digest"] = digest
    for name, value in last_epoch.model_dump(exclude_none=True).items():
        metrics.log_metric(name, value)
    return (digest,)
