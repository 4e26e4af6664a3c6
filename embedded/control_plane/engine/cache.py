"""When two tasks are the same work: the real backend's cache key.

Sources: kubeflow/pipelines, backend/src/v2/driver/cache.go (getFingerPrint), cacheutils/cache.go (GenerateCacheKey).
In the key: values of the input parameters that were given, identities (not contents) of input artifacts, types of the
output parameters, type and metadata of the output artifacts, image, command and arguments, names of the mounted claims.
Not in it: defaults, environment, secrets, resources, the pipeline's version. `cacheKey` replaces all of it. Its scope
is the pipeline's name.
"""

from collections.abc import Iterable
from pathlib import Path

from embedded.control_plane.engine.executors import Container
from embedded.control_plane.engine.go_text import plain_of
from embedded.control_plane.engine.spec import Component, Task
from embedded.control_plane.engine.values import Values, digest_of


def fingerprint_of(
    task: Task,
    component: Component,
    container: Container,
    inputs: Values,
    *,
    claims: Iterable[str] = (),
    is_own_image: bool = False,
) -> str:
    """claims: names of the PersistentVolumeClaims that are mounted: what they hold may change what a task does.
    is_own_image: its image runs; what a command made without it is another result."""
    runtime = {"runtime": "oci"} if is_own_image else {}
    if task.caching_options.cache_key:
        return digest_of({"component": task.component_ref.name, "cacheKey": task.caching_options.cache_key, **runtime})
    outputs = component.output_definitions
    return digest_of(
        {
            "inputParameters": plain_of(inputs.parameters),
            "inputArtifacts": {key: [a.id for a in artifacts] for key, artifacts in inputs.artifacts.items()},
            "outputParameters": {key: definition.parameter_type for key, definition in outputs.parameters.items()},
            "outputArtifacts": {
                key: {"type": definition.artifact_type.model_dump(), "metadata": plain_of(definition.metadata)}
                for key, definition in outputs.artifacts.items()
            },
            "image": container.image,
            "command": [*container.command, *container.args],
            "claims": sorted(set(claims)),
            **runtime,
        }
    )


def is_intact(outputs: Values) -> bool:
    """Whether the local folders of the remembered artifacts are still there. The real backend does not look at all."""
    uris = [artifact.uri for artifacts in outputs.artifacts.values() for artifact in artifacts]
    return all("://" in uri or Path(uri).parent.is_dir() for uri in uris)
