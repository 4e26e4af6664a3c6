"""The KFP contract of `ingest`."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def ingest(
    task: str,
    run_key: str,
    incoming: dsl.Output[dsl.Dataset],
    reference: dsl.Output[dsl.Dataset],
    manifest: dsl.Output[dsl.Artifact],
    rejected: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", [("version", str), ("num_new", int)]):
    """Make a dataset version of the label shards that wait; gives its name and the number of new examples."""
    from components.ingest.step import Paths, Stores, ingest_step
    from ratchet import wiring

    bucket = wiring.settings().ratchet_bucket
    return ingest_step(
        wiring.task_spec(task),
        run_key=run_key,
        stores=Stores(wiring.label_store(), wiring.dataset_store(), wiring.object_store(), bucket),
        paths=Paths(incoming.path, reference.path, manifest.path, rejected.path),
    )
