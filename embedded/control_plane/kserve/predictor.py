"""From `spec.predictor` to the process that serves it, or a refusal that names the field.

What a cluster would honour and one machine cannot (GPUs, replicas, sidecars …) is refused: nobody should learn only on
the cluster what their manifest means.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kserve.runtimes import ContainerEnvVar, EnvSource, Runtime
from embedded.control_plane.kubernetes.errors import FieldError

PREDICTOR = "spec.predictor"
MOUNT = "/mnt/models"
"""Where a model lies in a container; here the folder that it was downloaded to takes its place."""
NUM_REPLICAS_MAX = 8
"""Of one revision on one machine."""
_CANARY = "canaryTrafficPercent"
_PREDICTOR_FIELDS = {"model", "containers", _CANARY, "minReplicas", "maxReplicas", "labels"}
_MODEL_FIELDS = {"modelFormat", "storageUri", "runtime", "protocolVersion", "name", "command", "args", "env"}
_CONTAINER_FIELDS = {"name", "image", "command", "args", "env", "ports"}
_TEMPLATE = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_S3_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S+")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class ProcessTemplate(BaseModel):
    """How to run a revision; immutable like the revision. MOUNT stands where the model's folder goes."""

    model_config = ConfigDict(frozen=True)

    command: tuple[str, ...]
    env: tuple[ContainerEnvVar, ...] = ()
    storage_uri: str = ""
    """"" when the container brings its model itself."""
    num_replicas: int = 1
    """Processes that share the revision's requests."""
    fork_command: tuple[str, ...] = ()
    """The beginning of `command` that starts a fork server of the runtime; () where it has none."""


def canary_traffic_pct_of(predictor: Mapping[str, Any]) -> int | None:
    """FieldError unless it is absent or a whole number from 0 to 100."""
    value = predictor.get(_CANARY)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100):
        raise FieldError(f"{PREDICTOR}.{_CANARY}", f"must be a whole number from 0 to 100, not {value!r}")
    return value


def template_of(predictor: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a predictor that makes a revision: everything but the share of traffic."""
    return {key: value for key, value in predictor.items() if key != _CANARY}


def parse_predictor(
    predictor: Any, *, name: str, namespace: str, runtimes: Sequence[Runtime], secrets: Mapping[str, Iterable[str]]
) -> ProcessTemplate:
    """The process of a predictor. FieldError names the first field that is wrong or cannot be honoured here."""
    predictor = expect_mapping(predictor, PREDICTOR)
    refuse_others(predictor, _PREDICTOR_FIELDS, PREDICTOR)
    canary_traffic_pct_of(predictor)
    num_replicas = _parse_replicas(predictor)
    if ("model" in predictor) == ("containers" in predictor):
        raise FieldError(PREDICTOR, "needs either model or containers", reason="FieldValueRequired")
    if "model" in predictor:
        model = expect_mapping(predictor["model"], f"{PREDICTOR}.model")
        template = _template_of_model(model, runtimes=runtimes)
    else:
        template = _template_of_containers(predictor["containers"])
    _check_secrets(template.env, secrets)
    values = {"Name": name, "Namespace": namespace}
    command = tuple(_fill(word, values) for word in template.command)
    return template.model_copy(update={"command": command, "num_replicas": num_replicas})


def _template_of_model(model: Mapping[str, Any], *, runtimes: Sequence[Runtime]) -> ProcessTemplate:
    field = f"{PREDICTOR}.model"
    refuse_others(model, _MODEL_FIELDS, field)
    runtime = _choose_runtime(model, runtimes)
    protocol = model.get("protocolVersion")
    if protocol is not None and protocol not in runtime.protocols:
        known = ", ".join(runtime.protocols)
        raise FieldError(f"{field}.protocolVersion", f"runtime {runtime.name} speaks {known}, not {protocol!r}")
    command = _strings(model.get("command"), f"{field}.command") or runtime.command
    args = (*runtime.args, *_strings(model.get("args"), f"{field}.args"))
    env = {variable.name: variable for variable in (*runtime.env, *_parse_env(model.get("env"), f"{field}.env"))}
    storage_uri = _check_storage_uri(model.get("storageUri"), f"{field}.storageUri")
    fork_command = runtime.command if runtime.has_fork_server and command == runtime.command else ()
    return ProcessTemplate(
        command=(*command, *args), env=tuple(env.values()), storage_uri=storage_uri, fork_command=fork_command
    )


def _choose_runtime(model: Mapping[str, Any], runtimes: Sequence[Runtime]) -> Runtime:
    """The runtime that is named, else the first that offers itself for the format."""
    field = f"{PREDICTOR}.model"
    format_name = expect_mapping(model.get("modelFormat"), f"{field}.modelFormat").get("name")
    wished = model.get("runtime")
    if wished is None:
        for runtime in runtimes:
            if runtime.is_chosen_for(str(format_name)):
                return runtime
        known = ", ".join(sorted({known.name for runtime in runtimes for known in runtime.formats})) or "none"
        raise FieldError(f"{field}.modelFormat.name", f"no runtime serves {format_name!r}; known formats: {known}")
    for runtime in runtimes:
        if runtime.name == wished:
            if runtime.serves(str(format_name)):
                return runtime
            raise FieldError(f"{field}.modelFormat.name", f"runtime {wished} does not serve {format_name!r}")
    known = ", ".join(runtime.name for runtime in runtimes) or "none"
    raise FieldError(f"{field}.runtime", f"there is no runtime {wished!r}; known: {known}", reason="FieldValueNotFound")


def _template_of_containers(containers: Any) -> ProcessTemplate:
    field = f"{PREDICTOR}.containers"
    if not isinstance(containers, list) or len(containers) != 1:
        raise FieldError(field, "exactly one container can be run here")
    field = f"{field}[0]"
    container = expect_mapping(containers[0], field)
    refuse_others(container, _CONTAINER_FIELDS, field)
    command = _strings(container.get("command"), f"{field}.command")
    if not command:
        text = "is required here: an image's own entrypoint cannot be run without the image"
        raise FieldError(f"{field}.command", text, reason="FieldValueRequired")
    env = _parse_env(container.get("env"), f"{field}.env")
    storage_uri = next((variable.value for variable in env if variable.name == "STORAGE_URI"), "")
    if storage_uri:
        _check_storage_uri(storage_uri, f"{field}.env[STORAGE_URI]")
    args = _strings(container.get("args"), f"{field}.args")
    return ProcessTemplate(command=(*command, *args), env=env, storage_uri=storage_uri)


def _parse_env(entries: Any, field: str) -> tuple[ContainerEnvVar, ...]:
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise FieldError(field, "must be a list")
    return tuple(_parse_variable(entry, f"{field}[{index}]") for index, entry in enumerate(entries))


def _parse_variable(entry: Any, field: str) -> ContainerEnvVar:
    entry = expect_mapping(entry, field)
    refuse_others(entry, {"name", "value", "valueFrom"}, field)
    name = entry.get("name")
    if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
        raise FieldError(f"{field}.name", f"{name!r} is no name of a variable")
    if "valueFrom" in entry:
        return ContainerEnvVar(name=name, source=_parse_source(entry["valueFrom"], f"{field}.valueFrom"))
    value = entry.get("value", "")
    if not isinstance(value, str):
        raise FieldError(f"{field}.value", f"must be a string, not {value!r}")
    return ContainerEnvVar(name=name, value=value)


def _parse_source(source: Any, field: str) -> EnvSource:
    source = expect_mapping(source, field)
    refuse_others(source, {"secretKeyRef"}, field)
    reference = expect_mapping(source.get("secretKeyRef"), f"{field}.secretKeyRef")
    refuse_others(reference, {"name", "key", "optional"}, f"{field}.secretKeyRef")
    for part in ("name", "key"):
        if not isinstance(reference.get(part), str):
            raise FieldError(f"{field}.secretKeyRef.{part}", "must be a string", reason="FieldValueRequired")
    return EnvSource(secret=reference["name"], key=reference["key"], is_optional=bool(reference.get("optional", False)))


def _check_secrets(env: Iterable[ContainerEnvVar], secrets: Mapping[str, Iterable[str]]) -> None:
    """A cluster would leave the pod waiting for ever; here the author is told at once."""
    for variable in env:
        source = variable.source
        if source and not source.is_optional and source.key not in secrets.get(source.secret, ()):
            raise FieldError(
                f"{PREDICTOR} env {variable.name}",
                f"secret {source.secret!r} has no key {source.key!r}",
                reason="FieldValueNotFound",
            )


def _parse_replicas(predictor: Mapping[str, Any]) -> int:
    """How many processes serve a revision. Nothing scales here: more than the least are never started."""
    smallest, largest = (predictor.get(name) for name in ("minReplicas", "maxReplicas"))
    smallest, largest = 1 if smallest is None else smallest, largest or 0
    if not _is_number(smallest) or smallest > NUM_REPLICAS_MAX:
        raise FieldError(
            f"{PREDICTOR}.minReplicas", f"must be a whole number from 0 to {NUM_REPLICAS_MAX}, not {smallest!r}"
        )
    if not _is_number(largest):
        raise FieldError(f"{PREDICTOR}.maxReplicas", f"must be a whole number of at least 0, not {largest!r}")
    if largest and smallest > largest:
        raise FieldError(f"{PREDICTOR}.minReplicas", f"is {smallest}, and maxReplicas is {largest}")
    return max(int(smallest), 1)


def _is_number(value: Any) -> bool:
    """Clients in JavaScript send 1.0 for 1, and a cluster takes it."""
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return is_whole and not isinstance(value, bool) and value >= 0


def _check_storage_uri(uri: Any, field: str) -> str:
    if not isinstance(uri, str) or not uri:
        raise FieldError(field, "is required", reason="FieldValueRequired")
    if not _S3_URI.fullmatch(uri):
        raise FieldError(field, f"{uri!r} is not of the form s3://bucket/folder, the only storage here")
    return uri


def _fill(word: str, values: Mapping[str, str]) -> str:
    """KServe's own templates: `{{.Name}}`, `{{.Namespace}}`."""
    filled = _TEMPLATE.sub(lambda found: values.get(found[1], found[0]), word)
    if "{{" in filled:
        raise FieldError(PREDICTOR, f"cannot fill {word!r}; {', '.join(values)} are known")
    return filled


def expect_mapping(value: Any, field: str) -> Mapping[str, Any]:
    if value is None:
        raise FieldError(field, "is required", reason="FieldValueRequired")
    if not isinstance(value, Mapping):
        raise FieldError(field, f"must be an object, not {value!r:.80}")
    return value


def _strings(value: Any, field: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(word, str) and "\0" not in word for word in value):
        raise FieldError(field, "must be a list of strings")
    return tuple(value)


def refuse_others(value: Mapping[str, Any], known: set[str], field: str) -> None:
    """FieldError for the first key that one machine cannot honour. A null is as good as absent."""
    for key in _unknown(value, known):
        text = f"cannot be honoured here; supported: {', '.join(sorted(known))}"
        raise FieldError(f"{field}.{key}", text, reason="FieldValueNotSupported")


def _unknown(value: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    return (str(key) for key in value if key not in known and value[key] is not None)
