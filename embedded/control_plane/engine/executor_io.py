"""The `ExecutorInput` that a task reads, and the outputs that it left behind."""

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from embedded.control_plane.engine.artifact_metadata import check_metadata, metadata_of_reader
from embedded.control_plane.engine.artifact_store import check_import
from embedded.control_plane.engine.definitions import ParameterDefinition
from embedded.control_plane.engine.executors import Importer
from embedded.control_plane.engine.go_text import parse_json, parse_text, plain_of
from embedded.control_plane.engine.inputs import with_defaults
from embedded.control_plane.engine.placeholders import ADDRESS, fill_text
from embedded.control_plane.engine.roots import Root
from embedded.control_plane.engine.spec import Component
from embedded.control_plane.engine.values import Artifact, Values
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.sound_json import check_sound
from wire.printable import printable
from wire.validation_text import validation_text

OUTPUT_FILE = "executor_output.json"
_LOCAL_SCHEME = "file://"
_OUTPUT_BYTES_MAX = 8 * 1024 * 1024
"""Of a parameter: it is kept in the database, and shown with its run."""
_LEAVE_ALONE = "The component must not write to it."


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
                        _wire_of(_as_read(artifact), origin.uri)
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


def _as_read(artifact: Artifact) -> Artifact:
    return artifact.model_copy(update={"metadata": metadata_of_reader(artifact.metadata)})


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
        if key in written.parameter_values:
            parameters[key] = plain_of(written.parameter_values[key])
        else:
            parameters[key] = _from_file(folder / key, definition, key=key)
        check_sound(parameters[key], where=f"output {key!r}")
    artifacts = {}
    for key in component.output_definitions.artifacts:
        got = written.artifact_of(key)
        if got.custom_path:
            take(_path_in(got.custom_path, what=f"the artifact {key!r}"), folder / key)
        artifacts[key] = (_completed(_blank(key, component, folder), got),)
        check_metadata(artifacts[key][0].metadata, where=f"output {key!r}")
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
    check_metadata(metadata, where="the importer's artifact")
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


class _WrittenArtifact(BaseModel):
    uri: str | None = None
    custom_path: str | None = None
    metadata: dict[str, Any] | None = None


class _WrittenList(BaseModel):
    artifacts: tuple[_WrittenArtifact, ...] | None = None


class _Written(BaseModel):
    """What a task wrote into its executor's file: `ExecutorOutput` of KFP's API."""

    parameter_values: dict[str, Any] = Field({}, alias="parameterValues")
    artifacts: dict[str, _WrittenList] = {}

    def artifact_of(self, key: str) -> _WrittenArtifact:
        found = self.artifacts.get(key, _WrittenList()).artifacts
        return found[0] if found else _WrittenArtifact()


def _completed(blank: Artifact, got: _WrittenArtifact) -> Artifact:
    """Source: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, mergeRuntimeArtifacts and
    retrieveArtifactPath: a custom path is uploaded to the artifact's own address."""
    uri = _path_in(got.uri or blank.uri, what=f"the artifact {blank.name!r}")
    return blank.model_copy(update={"uri": uri, "metadata": {**blank.metadata, **(got.metadata or {})}})


def _path_in(path: str, *, what: str) -> str:
    if "\0" in path:
        raise DataRejected(f"{what} has the address {path!r}, which has a NUL character.")
    return path


def _executor_output(path: Path) -> _Written:
    if not path.is_file():
        return _Written()
    try:
        value = plain_of(parse_json(_text_in(path, what=OUTPUT_FILE)))
        check_sound(value, where=OUTPUT_FILE)
        return _Written.model_validate(value)
    except ValidationError as error:
        raise DataRejected(f"{OUTPUT_FILE}: {validation_text(error, value=value)}. {_LEAVE_ALONE}") from None
    except ValueError as error:
        raise DataRejected(f"{OUTPUT_FILE} is not JSON: {printable(str(error))}. {_LEAVE_ALONE}") from None
    except RecursionError:
        raise DataRejected(f"{OUTPUT_FILE} is nested too deep. {_LEAVE_ALONE}") from None


def _text_in(path: Path, *, what: str) -> str:
    """What a task wrote. DataRejected when it is too large for a parameter, or no text."""
    size_bytes = path.stat().st_size
    if size_bytes > _OUTPUT_BYTES_MAX:
        raise DataRejected(f"{what} has {size_bytes:,} bytes; the limit is {_OUTPUT_BYTES_MAX:,}. Use an artifact.")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DataRejected(f"{what} is not UTF-8 (byte {error.start + 1} of it). Use an artifact.") from None


def _from_file(path: Path, definition: ParameterDefinition, *, key: str) -> Any:
    if not path.is_file():
        raise DataRejected(
            f"output {key!r}: the task succeeded but did not write it. Return a value for it, or write it to {path}."
        )
    try:
        return parse_text(_text_in(path, what=f"its file {path}"), definition.parameter_type)
    except DataRejected as error:
        raise DataRejected(f"output {key!r}: {error}") from None
