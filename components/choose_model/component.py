"""The contract of choose_model, the first task of a rollout: it claims the run's turn, so it must not be cached."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def choose_model(task: str, version: str, run_key: str, run_id: str, run_name: str) -> NamedTuple(
    "Outputs",
    [
        ("turn_name", str),
        ("model_version", str),
        ("model_digest", str),
        ("model_uri", str),
        ("dataset_version", str),
    ],
):
    """The model that this run rolls out, when it is this run's turn: "current" or "superseded".

    version: in the registry, or the model's digest. A model that may not be rolled out is refused by name.
    """
    from components.choose_model.step import choose_model_step
    from ratchet import wiring
    from ratchet.actions.runs.turn import OwnRun

    with wiring.step_of_run("choose_model", task=task, run_id=run_id):
        turn_name, model = choose_model_step(
            OwnRun(task=task, run_key=run_key, run_id=run_id, name=run_name),
            version=version,
            stores=wiring.rollout_choice(),
            journal=wiring.run_journal(),
            policy_digest=wiring.policy_digest(task),
            clock=wiring.clock(),
        )
    return (turn_name, model.version, model.digest, model.uri, model.dataset_version)
