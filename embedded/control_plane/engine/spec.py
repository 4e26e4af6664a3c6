"""The compiled pipeline (pipeline_spec 2.1.0) as typed, frozen values.

Field by field what kfp's `pipeline_spec.proto` says; a field that is not here is refused by its name, so that nothing
in a pipeline is ever ignored in silence. `support.py` refuses what is known but cannot be honoured.
"""

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from embedded.control_plane.engine.definitions import Definitions, Name, SpecModel
from embedded.control_plane.engine.executors import DeploymentSpec, Executor

Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,10}(\.[0-9]{1,9})?s?)?$")]
"""A protobuf Duration in JSON, such as "1.5s"; "" is none. Up to 300 years."""


class ParameterSelector(SpecModel):
    producer_subtask: str
    output_parameter_key: str


class ArtifactSelector(SpecModel):
    producer_subtask: str
    output_artifact_key: str


class OneOf(SpecModel):
    parameter_selectors: tuple[ParameterSelector, ...]


class DagOutputParameter(SpecModel):
    value_from_parameter: ParameterSelector | None = None
    value_from_oneof: OneOf | None = None

    @property
    def selectors(self) -> tuple[ParameterSelector, ...]:
        if self.value_from_parameter:
            return (self.value_from_parameter,)
        return self.value_from_oneof.parameter_selectors if self.value_from_oneof else ()


class DagOutputArtifact(SpecModel):
    artifact_selectors: tuple[ArtifactSelector, ...]


class DagOutputs(SpecModel):
    parameters: dict[Name, DagOutputParameter] = Field(default_factory=dict)
    artifacts: dict[Name, DagOutputArtifact] = Field(default_factory=dict)


class TaskOutputParameter(SpecModel):
    producer_task: str
    output_parameter_key: str


class TaskOutputArtifact(SpecModel):
    producer_task: str
    output_artifact_key: str


class FinalStatusOf(SpecModel):
    producer_task: str


class RuntimeValue(SpecModel):
    constant: Any = None


class ParameterSource(SpecModel):
    """Where a parameter of a task comes from: exactly one of the first four."""

    runtime_value: RuntimeValue | None = None
    task_output_parameter: TaskOutputParameter | None = None
    component_input_parameter: str | None = None
    task_final_status: FinalStatusOf | None = None
    parameter_expression_selector: str = ""

    @property
    def producer(self) -> str | None:
        """The sibling task that it waits for."""
        source = self.task_output_parameter or self.task_final_status
        return source.producer_task if source else None


class ArtifactSource(SpecModel):
    task_output_artifact: TaskOutputArtifact | None = None
    component_input_artifact: str | None = None

    @property
    def producer(self) -> str | None:
        return self.task_output_artifact.producer_task if self.task_output_artifact else None


class TaskInputs(SpecModel):
    parameters: dict[Name, ParameterSource] = Field(default_factory=dict)
    artifacts: dict[Name, ArtifactSource] = Field(default_factory=dict)


class CachingOptions(SpecModel):
    enable_cache: bool = False
    cache_key: str = ""


class TriggerStrategy(StrEnum):
    UNSPECIFIED = "TRIGGER_STRATEGY_UNSPECIFIED"
    ALL_SUCCEEDED = "ALL_UPSTREAM_TASKS_SUCCEEDED"
    ALL_COMPLETED = "ALL_UPSTREAM_TASKS_COMPLETED"


class TriggerPolicy(SpecModel):
    condition: str = ""
    strategy: TriggerStrategy = TriggerStrategy.UNSPECIFIED


class IteratorItems(SpecModel):
    raw: str | None = None
    input_parameter: str | None = None


class ParameterIterator(SpecModel):
    items: IteratorItems
    item_input: Name


class ArtifactIteratorItems(SpecModel):
    input_artifact: str


class ArtifactIterator(SpecModel):
    items: ArtifactIteratorItems
    item_input: Name


class IteratorPolicy(SpecModel):
    parallelism_limit: int = Field(0, ge=0)
    """0 = no limit of its own."""


class RetryPolicy(SpecModel):
    max_retry_count: int = Field(0, ge=0)
    backoff_duration: Duration = "0s"
    backoff_factor: float = Field(2.0, ge=0)
    backoff_max_duration: Duration = "3600s"

    @property
    def backoff_s(self) -> float:
        return _seconds_of(self.backoff_duration)

    @property
    def backoff_s_max(self) -> float:
        return _seconds_of(self.backoff_max_duration)


class NamedRef(SpecModel):
    name: str


class Task(SpecModel):
    task_info: NamedRef | None = None
    component_ref: NamedRef
    inputs: TaskInputs = TaskInputs()
    dependent_tasks: tuple[str, ...] = ()
    caching_options: CachingOptions = CachingOptions()
    trigger_policy: TriggerPolicy = TriggerPolicy()
    parameter_iterator: ParameterIterator | None = None
    artifact_iterator: ArtifactIterator | None = None
    iterator_policy: IteratorPolicy = IteratorPolicy()
    retry_policy: RetryPolicy = RetryPolicy()

    @property
    def display_name(self) -> str:
        return self.task_info.name if self.task_info else ""

    @property
    def has_retry_policy(self) -> bool:
        """Whether the pipeline asks for retries, be it none."""
        return "retry_policy" in self.model_fields_set

    @property
    def is_loop(self) -> bool:
        return self.parameter_iterator is not None or self.artifact_iterator is not None

    @cached_property
    def upstream(self) -> frozenset[str]:
        """Sibling tasks that must be finished first: those named, and those whose outputs are inputs."""
        producers = {source.producer for source in self.inputs.parameters.values()}
        producers |= {source.producer for source in self.inputs.artifacts.values()}
        return frozenset(self.dependent_tasks) | {producer for producer in producers if producer is not None}

    @property
    def is_hook(self) -> bool:
        """Exit tasks, and tasks that ignore failures upstream."""
        return self.trigger_policy.strategy is TriggerStrategy.ALL_COMPLETED

    @property
    def is_exit_task(self) -> bool:
        """Runs at the end of an ExitHandler, come what may; the compiler names such groups `exit-handler-<n>`."""
        return self.is_hook and any(name.startswith("exit-handler-") for name in self.upstream)


class Dag(SpecModel):
    tasks: dict[Name, Task] = Field(default_factory=dict)
    outputs: DagOutputs = DagOutputs()


class Component(SpecModel):
    """A leaf names its executor, a group holds a DAG: one of the two."""

    executor_label: str | None = None
    dag: Dag | None = None
    input_definitions: Definitions = Definitions()
    output_definitions: Definitions = Definitions()


class PipelineInfo(SpecModel):
    name: Name
    display_name: str = ""
    description: str = ""


class PipelineSpec(SpecModel):
    pipeline_info: PipelineInfo
    root: Component
    components: dict[Name, Component] = Field(default_factory=dict)
    deployment_spec: DeploymentSpec = DeploymentSpec()
    schema_version: str
    sdk_version: str = ""
    default_pipeline_root: str = ""

    def component_of(self, task: Task) -> Component:
        return self.components[task.component_ref.name]

    def executor_of(self, component: Component) -> Executor:
        """How a leaf is run; of a group, which runs nothing itself, an executor without anything in it."""
        return self.deployment_spec.executors.get(component.executor_label or "", Executor())


def _seconds_of(duration: str) -> float:
    """Seconds of a protobuf Duration in JSON, such as "1.5s"."""
    return float(duration.removesuffix("s") or 0)
