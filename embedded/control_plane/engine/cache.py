"""When two tasks are the same work: the real backend's cache key.

Source: kubeflow/pipelines, backend/src/v2/cacheutils. In the key: values of input parameters, identities (not contents)
of input artifacts, types of the outputs, image, command and arguments. Not in it: environment, secrets, resources, the
pipeline's version. `cacheKey` replaces all of it. Its scope is the pipeline's name.
"""

from pathlib import Path

from embedded.control_plane.engine.roots import is_s3
from embedded.control_plane.engine.spec import Component, Container, Task
from embedded.control_plane.engine.values import Values, digest_of, plain_of


def fingerprint_of(task: Task, component: Component, container: Container, inputs: Values) -> str:
    if task.caching_options.cache_key:
        return digest_of({"component": task.component_ref.name, "cacheKey": task.caching_options.cache_key})
    outputs = component.output_definitions
    return digest_of(
        {
            "inputParameters": plain_of(inputs.parameters),
            "inputArtifacts": {key: [a.id for a in artifacts] for key, artifacts in inputs.artifacts.items()},
            "outputParameters": {key: definition.parameter_type for key, definition in outputs.parameters.items()},
            "outputArtifacts": {key: d.model_dump(mode="json") for key, d in outputs.artifacts.items()},
            "image": container.image,
            "command": [*container.command, *container.args],
        }
    )


def is_intact(outputs: Values) -> bool:
    """Whether the local folders of the remembered artifacts are still there. The real backend does not look at all."""
    uris = [artifact.uri for artifacts in outputs.artifacts.values() for artifact in artifacts]
    return all(is_s3(uri) or Path(uri).parent.is_dir() for uri in uris)
