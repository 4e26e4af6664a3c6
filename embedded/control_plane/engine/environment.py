"""The environment variables of a task, and what its log must say of settings that one machine cannot honour."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from embedded.control_plane.engine.placeholders import fill_text
from embedded.control_plane.engine.spec import Container, KubernetesExecutor, NameSource
from embedded.control_plane.engine.values import Values
from ratchet.core.errors import DataRejected
from ratchet.settings import child_env

_WITHOUT_MEANING = (
    "node_selector",
    "tolerations",
    "node_affinity",
    "pod_affinity",
    "pod_metadata",
    "image_pull_secret",
    "image_pull_policy",
    "security_context",
    "enabled_shared_memory",
)


def task_environment(
    container: Container,
    kubernetes: KubernetesExecutor,
    *,
    inputs: Values,
    executor_input: Mapping[str, Any],
    job: Mapping[str, str],
    secrets_dir: Path,
    project_dir: Path,
    tmp_dir: Path,
) -> dict[str, str]:
    """All variables of the task's process. DataRejected names the secret or key that is not there."""
    env = child_env({})
    env |= {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(project_dir), env.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "PIP_NO_INDEX": "1",
        "TMPDIR": str(tmp_dir),
    }
    for secret in kubernetes.secret_as_env:
        name = _name_of(secret.secret_name, secret.secret_name_parameter, inputs)
        keys = {key.env_var: key.secret_key for key in secret.key_to_env}
        env |= _values_of(secrets_dir, name, keys, optional=secret.optional, what="Secret")
    for config_map in kubernetes.config_map_as_env:
        name = _name_of(config_map.config_map_name, config_map.config_map_name_parameter, inputs)
        keys = {key.env_var: key.config_map_key for key in config_map.key_to_env}
        env |= _values_of(secrets_dir, name, keys, optional=config_map.optional, what="ConfigMap")
    for variable in container.env:
        env[variable.name] = fill_text(variable.value, executor_input=executor_input, job=job)
    return env


def notes_of(container: Container, kubernetes: KubernetesExecutor) -> Iterable[str]:
    """One line for each setting of the task that is ignored here."""
    names = [name for name in _WITHOUT_MEANING if getattr(kubernetes, name)]
    if container.resources:
        names.append("resources")
    return [f"{name} has no meaning on one machine: ignored." for name in names]


def _name_of(constant: str, source: NameSource | None, inputs: Values) -> str:
    if source is None:
        return constant
    if source.runtime_value is not None:
        return str(source.runtime_value.constant)
    return str(inputs.parameters.get(source.component_input_parameter or "", ""))


def _values_of(secrets_dir: Path, name: str, keys: Mapping[str, str], *, optional: bool, what: str) -> dict[str, str]:
    values = {}
    for variable, key in keys.items():
        if not _is_plain(name) or not _is_plain(key):
            raise DataRejected(f"{what} {name!r}, key {key!r}: that is not a name.")
        path = secrets_dir / name / key
        if path.is_file():
            values[variable] = path.read_text()
        elif not optional:
            raise DataRejected(f"{what} {name!r} has no key {key!r}. Write its value to {path}.")
    return values


def _is_plain(name: str) -> bool:
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name
