"""ServingRuntime manifests: which command serves a model format. KServe's own kind, read from YAML files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedded.control_plane.errors import SettingsError

_FORK_SERVER = "ratchet/fork-server"


class EnvSource(BaseModel):
    """`valueFrom`: a key of a Secret, the only source there is on one machine."""

    model_config = ConfigDict(frozen=True)

    secret: str
    key: str
    is_optional: bool = False


class ContainerEnvVar(BaseModel):
    """One variable of a container: a text, or where to read it when the process starts."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: str = ""
    source: EnvSource | None = None


class ModelFormat(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    version: str = ""
    auto_select: bool = Field(False, alias="autoSelect")


class Runtime(BaseModel):
    """What of a ServingRuntime matters on one machine. Its image, probes and resources are the cluster's business."""

    model_config = ConfigDict(frozen=True)

    name: str
    formats: tuple[ModelFormat, ...]
    protocols: tuple[str, ...] = ()
    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    env: tuple[ContainerEnvVar, ...] = ()
    has_fork_server: bool = False
    """Whether `command --fork_server` is one; annotation `ratchet/fork-server` of the manifest."""

    def serves(self, format_name: str) -> bool:
        return any(known.name == format_name for known in self.formats)

    def is_chosen_for(self, format_name: str) -> bool:
        """Whether it serves a predictor that names no runtime."""
        return any(known.name == format_name and known.auto_select for known in self.formats)


def load_runtimes(folder: Path) -> tuple[Runtime, ...]:
    """Every ServingRuntime in the folder's YAML files, in order of the files. SettingsError names a wrong one."""
    runtimes = []
    for path in sorted(folder.glob("*.y*ml")):
        try:
            documents = [document for document in yaml.safe_load_all(path.read_text()) if isinstance(document, dict)]
            runtimes += _runtimes_of(documents)
        except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise SettingsError(
                f"{path}: not a ServingRuntime that can be run here: {what}. Correct the file."
            ) from None
    return tuple(runtimes)


def _runtimes_of(documents: Iterable[dict[str, Any]]) -> list[Runtime]:
    return [
        _parse_runtime(document)
        for document in documents
        if document.get("kind") in {"ServingRuntime", "ClusterServingRuntime"}
    ]


def _parse_runtime(document: dict[str, Any]) -> Runtime:
    spec = document["spec"]
    container = spec["containers"][0]
    if not container.get("command"):
        raise ValueError("containers[0].command is missing; an image's own entrypoint cannot be run without the image")
    try:
        return Runtime(
            name=document["metadata"]["name"],
            formats=tuple(ModelFormat.model_validate(known) for known in spec["supportedModelFormats"]),
            protocols=tuple(spec.get("protocolVersions", ())),
            command=tuple(container["command"]),
            args=tuple(container.get("args", ())),
            env=tuple(_parse_variable(entry) for entry in container.get("env", ())),
            has_fork_server=(document["metadata"].get("annotations") or {}).get(_FORK_SERVER) == "true",
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _parse_variable(entry: dict[str, Any]) -> ContainerEnvVar:
    if "valueFrom" not in entry:
        return ContainerEnvVar(name=entry["name"], value=entry["value"])
    reference = entry["valueFrom"]["secretKeyRef"]
    source = EnvSource(
        secret=reference["name"], key=reference["key"], is_optional=bool(reference.get("optional", False))
    )
    return ContainerEnvVar(name=entry["name"], source=source)
