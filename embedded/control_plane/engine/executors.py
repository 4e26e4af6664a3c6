"""How a leaf of a compiled pipeline runs: a container with its resources, or an importer."""

from typing import Any

from pydantic import Field

from embedded.control_plane.engine.definitions import ArtifactType, Name, SpecModel


class EnvVar(SpecModel):
    name: str
    value: str = ""


class Accelerator(SpecModel):
    type: str = ""
    count: str = ""
    """Both are what older compilers wrote."""
    resource_type: str = ""
    resource_count: str = ""


class Resources(SpecModel):
    """Requests and limits as the author wrote them ("500m", "1Gi", a placeholder); resources.py reads them.

    The compiler also writes constants as numbers (CPUs; memory in 10^9 bytes), for backends before 2.4.
    """

    cpu_limit: float = 0
    cpu_request: float = 0
    memory_limit: float = 0
    memory_request: float = 0
    resource_cpu_limit: str = ""
    resource_cpu_request: str = ""
    resource_memory_limit: str = ""
    resource_memory_request: str = ""
    accelerator: Accelerator = Accelerator()


class Container(SpecModel):
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    resources: Resources = Resources()


class ImporterUri(SpecModel):
    constant: str | None = None
    runtime_parameter: str | None = None


class Importer(SpecModel):
    artifact_uri: ImporterUri
    type_schema: ArtifactType = ArtifactType()
    metadata: dict[str, Any] = Field(default_factory=dict)
    reimport: bool = False
    download_to_workspace: bool = False


class Executor(SpecModel):
    container: Container | None = None
    importer: Importer | None = None


class DeploymentSpec(SpecModel):
    executors: dict[Name, Executor] = Field(default_factory=dict)
