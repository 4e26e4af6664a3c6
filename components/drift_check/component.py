"""The KFP contract of `drift_check`."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def drift_check(
    task: str,
    version: str,
    run_id: str,
    incoming: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
    verdict: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("verdict_name", str)]):
    """Compare the new labels with the champion's training labels: "stable", "drifted" or "too_few"."""
    from datetime import UTC, datetime

    from components.drift_check.step import Paths, Stores, drift_check_step
    from ratchet import wiring
    from ratchet.core.labels.drift import DriftPolicy

    with wiring.step_of_run("drift_check", task=task, run_id=run_id):
        verdict_name = drift_check_step(
            wiring.task_spec(task),
            version=version,
            policy=wiring.policy(task, "drift", DriftPolicy),
            stores=Stores(
                datasets=wiring.dataset_store(),
                sketches=wiring.sketches(),
                records=wiring.drift_records(),
                libraries=wiring.page_libraries(),
                signals=wiring.signals(),
                ledger=wiring.ledger(),
                objects=wiring.object_store(),
            ),
            now=datetime.now(UTC),
            paths=Paths(incoming.path, reference.path, report.path, verdict.path),
        )
    return (verdict_name,)
