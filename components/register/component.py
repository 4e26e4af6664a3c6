"""The KFP contract of `register`. It changes the world: the pipeline must not cache it."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def register(
    task: str,
    run_id: str,
    run_key: str,
    model: dsl.Input[dsl.Model],
    verdict: dsl.Input[dsl.Artifact],
    metrics: dsl.Input[dsl.Metrics],
) -> NamedTuple(
    "Outputs",
    [("model_version", str), ("model_uri", str), ("model_digest", str), ("dataset_version", str)],
):
    """Register the challenger with its lineage; the alias `challenger` points to it."""
    from pathlib import Path

    from components.image import image
    from components.register.step import Lineage, Signing, register_step
    from ratchet import wiring
    from ratchet.core.verdict import Verdict

    with wiring.step_of_run("register", task=task, run_id=run_id):
        judged = Verdict.model_validate_json(Path(verdict.path).read_bytes())
        lineage = Lineage(
            dataset_version=judged.inputs["dataset_version"],
            run_id=run_id,
            run_key=run_key,
            policy_digest=wiring.policy_digest(task),
            git_commit=wiring.settings().git_commit,
            image=image("trainer"),
        )
        version, uri, digest = register_step(
            wiring.task_spec(task),
            Path(model.path),
            verdict=judged,
            metrics={name: float(value) for name, value in metrics.metadata.items() if isinstance(value, int | float)},
            lineage=lineage,
            models=wiring.model_folders(),
            registry=wiring.registry(),
            signing=Signing(
                signer=wiring.signer(),
                manifest=wiring.dataset_store().fetch_manifest(lineage.dataset_version),
                files=wiring.model_files(),
            ),
        )
    return (version, uri, digest, lineage.dataset_version)
