"""The environment variables of a task, and what its log must say of settings that one machine cannot honour."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from embedded.control_plane.engine.executors import Container
from embedded.control_plane.engine.images import image_note
from embedded.control_plane.engine.kubernetes_spec import EmptyDirMount, KubernetesExecutor
from embedded.control_plane.engine.pip_calls import has_nested_venv
from embedded.control_plane.engine.placeholders import fill_text
from embedded.control_plane.engine.pod_fields import Pod
from embedded.control_plane.engine.resources import limits_cpu
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.host.child_env import child_env
from wire.printable import printable

_WITHOUT_MEANING = (
    "node_selector",
    "tolerations",
    "node_affinity",
    "pod_affinity",
    "image_pull_secret",
    "image_pull_policy",
    "security_context",
    "enabled_shared_memory",
)


def base_environment(*, project_dir: Path, tmp_dir: Path) -> dict[str, str]:
    """Variables that every process of a task has here, before those that its pipeline asks for."""
    env = {name: value for name, value in child_env({}).items() if not name.startswith("PIP_")}
    return env | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(project_dir), env.get("PYTHONPATH")))),
        "PYTHONUNBUFFERED": "1",
        "PIP_NO_INDEX": "1",  # what a task needs is installed before it runs; see environments.py
        "PIP_CONFIG_FILE": os.devnull,
        "TMPDIR": str(tmp_dir),
    }


def asked_environment(
    container: Container,
    kubernetes: KubernetesExecutor,
    *,
    executor_input: Mapping[str, Any],
    job: Mapping[str, str],
    secrets_dir: Path,
    pod: Pod,
) -> dict[str, str]:
    """The variables that the pipeline asks for, and those that every pod has on a cluster. DataRejected names the
    secret or key that is not there.

    kubernetes: with all names resolved; see kubernetes_names.py.
    """
    env = pod.variables()
    for secret in kubernetes.secret_as_env:
        keys = {key.env_var: key.secret_key for key in secret.key_to_env}
        env |= _values_of(secrets_dir, secret.secret_name, keys, optional=secret.optional, what="Secret")
    for config_map in kubernetes.config_map_as_env:
        keys = {key.env_var: key.config_map_key for key in config_map.key_to_env}
        name = config_map.config_map_name
        env |= _values_of(secrets_dir, name, keys, optional=config_map.optional, what="ConfigMap")
    env |= {field.name: pod.field(field.field_path) for field in kubernetes.field_path_as_env}
    for variable in container.env:
        env[variable.name] = fill_text(variable.value, executor_input=executor_input, job=job)
    return env


def check_given(words: Sequence[str], variables: Mapping[str, str]) -> None:
    """DataRejected for what no program can be given: text with a NUL character in it."""
    given = [*((f"argument {number}", word) for number, word in enumerate(words)), *variables.items()]
    for what, text in given:
        if "\0" in text or "\0" in what or not what or "=" in what:
            raise DataRejected(f"no program can be given {printable(what)}: a NUL character, or '=' in a name.")


def notes_of(
    container: Container,
    kubernetes: KubernetesExecutor,
    *,
    parameters: Mapping[str, Any] = MappingProxyType({}),
    is_own_image: bool = False,
) -> Iterable[str]:
    """One line for each setting of the task that is ignored here. parameters: the task's inputs, for amounts that are
    placeholders. is_own_image: a container engine runs its image."""
    names = [name for name in _WITHOUT_MEANING if getattr(kubernetes, name)]
    if kubernetes.pod_metadata and kubernetes.pod_metadata.has_more_than_ours:
        names.append("pod_metadata")
    notes = [f"{note}."] if (note := image_note(container.image)) and not is_own_image else []
    notes += [f"{name} has no meaning on one machine: ignored." for name in names]
    if limits_cpu(container.resources, parameters):
        notes.append("the CPU limit is used for scheduling only; a running task is not slowed down.")
    notes += [f"emptyDir {m.volume_name!r}: its size limit is not enforced." for m in _limited(kubernetes)]
    if has_nested_venv(container.command) and not is_own_image:
        notes.append("use_venv has no meaning here: packages_to_install get an environment of their own anyway.")
    return notes


def _limited(kubernetes: KubernetesExecutor) -> Iterable[EmptyDirMount]:
    return (mount for mount in kubernetes.empty_dir_mounts if mount.size_limit)


def _values_of(secrets_dir: Path, name: str, keys: Mapping[str, str], *, optional: bool, what: str) -> dict[str, str]:
    values = {}
    for variable, key in keys.items():
        if not is_plain_name(name) or not is_plain_name(key):
            raise DataRejected(f"{what} {name!r}, key {key!r}: that is not a name.")
        path = secrets_dir / name / key
        if path.is_file():
            values[variable] = path.read_text()
        elif not optional:
            raise DataRejected(f"{what} {name!r} has no key {key!r}. Write its value to {path}.")
    return values


def is_plain_name(name: str) -> bool:
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name
