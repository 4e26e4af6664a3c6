"""The KFP contract of `ingest`."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def ingest(
    task: str,
    run_key: str,
    run_id: str,
    run_name: str,
    incoming: dsl.Output[dsl.Dataset],
    reference: dsl.Output[dsl.Dataset],
    manifest: dsl.Output[dsl.Artifact],
    rejected: dsl.Output[dsl.Artifact],
) -> NamedTuple(
    "Outputs",
    [
        ("version", str),
        ("num_new", int),
        ("turn_name", str),
        ("cpu", str),
        ("memory", str),
        ("accelerator", str),
        ("num_accelerators", str),
        ("node_selector", dict),
        ("tolerations", list),
    ],
):
    """Make a dataset version of the label shards that wait, when it is this run's turn: "current" or "superseded".

    Gives the version's name and the number of new examples; of a superseded run "" and 0, and no files. The other
    outputs are what the training asks of the cluster: one pipeline serves all tasks, and a run may begin anywhere.
    """
    from components.ingest.fence import fenced_ingest
    from components.ingest.step import Paths
    from ratchet import wiring
    from ratchet.actions.runs.turn import OwnRun
    from ratchet.core.labels.quality import QualityPolicy

    with wiring.step_of_run("ingest", task=task, run_id=run_id) as told:
        resources = wiring.step_resources(task)  # first: a file that is wrong stops the run before it has a version
        version, num_new, turn_name = fenced_ingest(
            wiring.task_spec(task),
            OwnRun(task=task, run_key=run_key, run_id=run_id, name=run_name),
            journal=wiring.run_journal(),
            stores=wiring.label_stores(),
            paths=Paths(incoming.path, reference.path, manifest.path, rejected.path),
            policy_digest=wiring.policy_digest(task),
            clock=wiring.clock(),
            by_weight=wiring.policy(task, "quality", QualityPolicy).settled_by == "consensus",
        )
        if version and num_new == 0:
            told.origin("ingest", text=f"no example is new in {version}")
    return (version, num_new, turn_name, *resources)
