"""What a component of a compiled pipeline declares: its parameters and artifacts, by name and type."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.\-]{0,199}$")]
"""Names of tasks, outputs, components and executors become parts of paths: no slash, no leading dot."""


class SpecModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class ParameterType(StrEnum):
    NUMBER_DOUBLE = "NUMBER_DOUBLE"
    NUMBER_INTEGER = "NUMBER_INTEGER"
    STRING = "STRING"
    BOOLEAN = "BOOLEAN"
    LIST = "LIST"
    STRUCT = "STRUCT"
    TASK_FINAL_STATUS = "TASK_FINAL_STATUS"


class ArtifactType(SpecModel):
    schema_title: str = ""
    schema_uri: str = ""
    instance_schema: str = ""
    schema_version: str = ""


class ArtifactDefinition(SpecModel):
    artifact_type: ArtifactType = ArtifactType()
    is_artifact_list: bool = False
    is_optional: bool = False
    description: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class ParameterDefinition(SpecModel):
    parameter_type: ParameterType
    default_value: Any = None
    is_optional: bool = False
    description: str = ""
    literals: tuple[Any, ...] = ()
    """When not empty: the only values allowed."""


class Definitions(SpecModel):
    parameters: dict[Name, ParameterDefinition] = Field(default_factory=dict)
    artifacts: dict[Name, ArtifactDefinition] = Field(default_factory=dict)
