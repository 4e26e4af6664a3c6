"""The contract of notify, the exit handler: it runs however the run ended, and the pipeline must not cache it."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def notify(status: dsl.PipelineTaskFinalStatus, task: str, run_key: str, run_id: str = ""):
    """Record how the run ended, and close a canary that it left half open; of a superseded run, only the former."""
    from components.notify.step import EndedRun, notify_step
    from ratchet import wiring

    notify_step(
        EndedRun(
            task=task,
            run_key=run_key,
            run_id=run_id or status.pipeline_job_resource_name.rpartition("/")[2],
            state=status.state,
            error=status.error_message or "",
        ),
        serving=wiring.serving_ports(),
        journal=wiring.run_journal(),
        outcomes=wiring.run_outcomes(),
        finished=wiring.finished_work(),
    )
