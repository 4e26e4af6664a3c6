"""From an uploaded file, or a request, to a checked pipeline. What we cannot honour is refused by its name."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from embedded.control_plane.engine.kubernetes_spec import Pipeline, PlatformSpec
from embedded.control_plane.engine.package import unpacked
from embedded.control_plane.engine.pipeline_yaml import read_documents
from embedded.control_plane.engine.spec import PipelineSpec
from embedded.control_plane.engine.support import check_supported
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.sound_json import check_sound

MAX_BYTES = 8 * 1024 * 1024
"""The largest pipeline we read; kfp's own samples stay under 0.2 MiB."""
SCHEMA_VERSION = "2.1.0"
Model = TypeVar("Model", bound=BaseModel)


def parse_upload(raw: bytes) -> dict[str, Any]:
    """The wire form of an uploaded YAML file: one document, or `{"pipeline_spec", "platform_spec"}` of two.

    raw: the file, or a `.zip` or `.tar.gz` with it.
    """
    if len(raw) > MAX_BYTES:
        raise DataRejected(f"The file has {len(raw)} bytes; the limit is {MAX_BYTES}. Upload a compiled pipeline.")
    documents = read_documents(unpacked(raw, bytes_max=MAX_BYTES), num_max=2)
    if len(documents) == 1:
        return documents[0]
    return {"pipeline_spec": documents[0], "platform_spec": documents[1]}


def load_pipeline(wire: Any) -> Pipeline:
    """The typed pipeline of a wire form. DataRejected names the field or construct that is unknown or unsupported."""
    if not isinstance(wire, dict):
        raise DataRejected("pipeline_spec must be an object: send the compiled pipeline.")
    check_sound(wire, where="the pipeline")
    has_platform = "pipeline_spec" in wire
    _check_schema(wire["pipeline_spec"] if has_platform else wire)
    spec = _validated(PipelineSpec, wire["pipeline_spec"] if has_platform else wire, where="pipeline")
    platform = _validated(PlatformSpec, wire.get("platform_spec") or {} if has_platform else {}, where="platform_spec")
    pipeline = Pipeline(spec=spec, platform=platform)
    check_supported(pipeline)
    return pipeline


def _check_schema(wire: Any) -> None:
    """Before the fields are looked at: another schema has others.

    Source: kubeflow/pipelines, backend/src/apiserver/template/v2_template.go, NewV2SpecTemplate.
    """
    spec = wire.get("pipelineSpec", wire) if isinstance(wire, dict) else wire  # a whole job, as kfp 1.8 writes it
    version = spec.get("schemaVersion") if isinstance(spec, dict) else None
    if version is not None and version != SCHEMA_VERSION:
        raise DataRejected(
            f"schemaVersion {str(version)[:40]!r} is not supported; this backend reads {SCHEMA_VERSION}, as a cluster "
            "does. Compile the pipeline with kfp 2.16."
        )


def _validated(kind: type[Model], value: Any, *, where: str) -> Model:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise DataRejected(
                f"{where}: {path} is not supported by this backend. Remove it, or run this pipeline on a cluster."
            ) from None
        if first["type"] == "enum":
            raise DataRejected(f"{where}: {path}: {first['input']} is not supported by this backend.") from None
        raise DataRejected(f"{where}: {path}: {first['msg']}. Compile the pipeline with kfp 2.16.") from None
