"""Look whether production is still what the champion learned from. Meant to run by the clock."""

from kfp import dsl

from components.drift_monitor.component import drift_monitor as drift_monitor_component
from pipelines.parts import with_settings


@dsl.pipeline(name="drift-monitor", description="Compare production with what the champion learned from.")
def drift_monitor(task: str):
    """task: name of the task file. What it finds makes the sensor's threshold lower, or not."""
    with_settings(drift_monitor_component(task=task))
