"""Take the champion out of service and give the traffic back to the one before."""

from kfp import dsl

from components.rollback.component import rollback as rollback_component
from pipelines.parts import with_settings


@dsl.pipeline(name="rollback", description="Give the traffic back to the previous champion.")
def rollback(task: str, reason: str = "asked for by a person"):
    """reason: goes into the ledger, where `ratchet models history` shows it."""
    with_settings(rollback_component(task=task, reason=reason, run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER))
