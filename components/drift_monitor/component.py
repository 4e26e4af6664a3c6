"""The KFP contract of `drift_monitor`."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def drift_monitor(task: str, report: dsl.Output[dsl.HTML], verdict: dsl.Output[dsl.Artifact]) -> NamedTuple(
    "Outputs", [("verdict_name", str)]
):
    """Compare production with the champion's training data: "stable", "drifted" or "too_few"."""
    from datetime import UTC, datetime

    from components.drift_monitor.step import Paths, Policies, Stores, drift_monitor_step
    from ratchet import wiring
    from ratchet.core.labels.drift import DriftPolicy
    from ratchet.core.rollout.monitor import MonitorPolicy

    verdict_name = drift_monitor_step(
        wiring.task_spec(task),
        policies=Policies(
            drift=wiring.policy(task, "drift", DriftPolicy), monitor=wiring.policy(task, "monitor", MonitorPolicy)
        ),
        stores=Stores(
            payloads=wiring.payload_log(),
            feedback=wiring.feedback_store(),
            datasets=wiring.dataset_store(),
            ledger=wiring.ledger(),
            registry=wiring.registry(),
            objects=wiring.object_store(),
            libraries=wiring.page_libraries(),
            signals=wiring.signals(),
            records=wiring.drift_records(),
            sketches=wiring.sketches(),
        ),
        now=datetime.now(UTC),
        paths=Paths(report.path, verdict.path),
    )
    return (verdict_name,)
