"""The `ExecutorInput` that a task reads, and the outputs that it left behind."""

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from embedded.control_plane.engine.artifact_store import check_import
from embedded.control_plane.engine.go_text import parse_json, parse_text, plain_of
from embedded.control_plane.engine.inputs import with_defaults
from embedded.control_plane.engine.placeholders import ADDRESS, fill_text
from embedded.control_plane.engine.roots import Root
from embedded.control_plane.engine.spec import Component, Importer, ParameterDefinition
from embedded.control_plane.engine.values import Artifact, Values
from ratchet.core.errors import DataRejected

OUTPUT_FILE = "executor_output.json"
_LOCAL_SCHEME = "file://"


def executor_input_of(component: Component, inputs: Values, *, root: Root, given: Values) -> dict[str, Any]:
    """What `{{$}}` stands for. Outputs are to be written under the folder of `root`, one path each.

    inputs: with local paths, as the executor wants them. given: the same, with the addresses that they came from.
    """
    outputs, folder = component.output_definitions, root.folder
    return {
        "inputs": {
            "parameterValues": with_defaults(inputs.parameters, component.input_definitions),
            "artifacts": {
                key: {
                    "artifacts": [
                        _wire_of(artifact, origin.uri)
                        for artifact, origin in zip(artifacts, given.artifacts[key], strict=True)
                    ]
                }
                for key, artifacts in inputs.artifacts.items()
            },
        },
        "outputs": {
            "parameters": {key: {"outputFile": str(folder / key)} for key in outputs.parameters},
            "artifacts": {
                key: {"artifacts": [_wire_of(_blank(key, component, folder), f"{root}/{key}")]}
                for key in outputs.artifacts
            },
            "outputFile": str(folder / OUTPUT_FILE),
        },
    }


def _wire_of(artifact: Artifact, address: str) -> dict[str, Any]:
    """The executor knows `uri` alone, so that is the local path; `{{$.….uri}}` means the address."""
    wire = artifact.as_wire()
    return wire if artifact.uri == address else {**wire, ADDRESS: address}


def collect_outputs(component: Component, *, folder: Path, take: Callable[[str, Path], None]) -> Values:
    """The outputs that a successful task wrote. DataRejected when one is missing, or cannot be read as its type.

    take: copies what a task named as the place of its artifact to where artifacts belong.

    Source: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, collectOutputParameters. What stands in the
    executor's own file has the type that it has; its readers are asked whether they take it.
    """
    written = _executor_output(folder / OUTPUT_FILE)
    parameters = {}
    for key, definition in component.output_definitions.parameters.items():
        if key in written.get("parameterValues", {}):
            parameters[key] = plain_of(written["parameterValues"][key])
        else:
            parameters[key] = _from_file(folder / key, definition, key=key)
    artifacts = {}
    for key in component.output_definitions.artifacts:
        got = (written.get("artifacts", {}).get(key, {}).get("artifacts") or [{}])[0]
        if got.get("custom_path"):
            take(got["custom_path"], folder / key)
        artifacts[key] = (_completed(_blank(key, component, folder), got),)
    return Values(parameters=parameters, artifacts=artifacts)


def imported_artifact(
    importer: Importer, inputs: Values, *, job: Mapping[str, str], name: str = "artifact"
) -> Artifact:
    """What an importer task gives. Unless it re-imports, the same address is the same artifact to the cache."""
    uri = importer.artifact_uri.constant
    if uri is None:
        uri = inputs.parameters.get(importer.artifact_uri.runtime_parameter or "")
    if not isinstance(uri, str) or not uri:
        raise DataRejected("the importer has no artifact URI: the parameter that names it is empty.")
    uri = uri.removeprefix(_LOCAL_SCHEME)
    check_import(uri)
    context = {"inputs": {"parameterValues": inputs.parameters, "artifacts": {}}, "outputs": {}}
    metadata = _filled(plain_of(importer.metadata), context, job)
    kind = importer.type_schema.model_dump(by_alias=True, exclude_defaults=True)
    identity = json.dumps([uri, kind, metadata], sort_keys=True)
    artifact_id = uuid.uuid4() if importer.reimport else uuid.uuid5(uuid.NAMESPACE_URL, identity)
    return Artifact(id=str(artifact_id), name=name, type=kind, uri=uri, metadata=metadata)


def _filled(value: Any, context: Mapping[str, Any], job: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill_text(value, executor_input=context, job=job)
    if isinstance(value, dict):
        return {_filled(key, context, job): _filled(inner, context, job) for key, inner in value.items()}
    return [_filled(inner, context, job) for inner in value] if isinstance(value, list) else value


def _blank(key: str, component: Component, folder: Path) -> Artifact:
    definition = component.output_definitions.artifacts[key]
    kind = definition.artifact_type.model_dump(by_alias=True, exclude_defaults=True)
    metadata = plain_of(definition.metadata)
    return Artifact(id=str(uuid.uuid4()), name=key, type=kind, uri=str(folder / key), metadata=metadata)


def _completed(blank: Artifact, got: Mapping[str, Any]) -> Artifact:
    """Source: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, mergeRuntimeArtifacts and
    retrieveArtifactPath: a custom path is uploaded to the artifact's own address."""
    return blank.model_copy(
        update={
            "uri": got.get("uri") or blank.uri,
            "metadata": {**blank.metadata, **(got.get("metadata") or {})},
        }
    )


def _executor_output(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return _object_in(path.read_text())
    except (ValueError, RecursionError) as error:
        raise DataRejected(f"{OUTPUT_FILE} is not JSON: {error}. The component must not write to it.") from None


def _object_in(text: str) -> dict[str, Any]:
    written = plain_of(parse_json(text))
    if not isinstance(written, dict):
        raise ValueError("expected an object")
    return written


def _from_file(path: Path, definition: ParameterDefinition, *, key: str) -> Any:
    if not path.is_file():
        raise DataRejected(
            f"output {key!r}: the task succeeded but did not write it. Return a value for it, or write it to {path}."
        )
    try:
        return parse_text(path.read_text(), definition.parameter_type)
    except DataRejected as error:
        raise DataRejected(f"output {key!r}: {error}") from None
