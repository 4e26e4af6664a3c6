"""What a revision's process is started with, and what it said at its end. Only `env_of` reads files: secrets."""

import re
from collections.abc import Mapping
from pathlib import Path

from embedded.control_plane.kserve.predictor import MOUNT
from embedded.control_plane.kserve.runtimes import ContainerEnvVar

_CAUSE_NUM_CHARS = 1000
_ERROR_LINE = re.compile(r"(?:ERROR|CRITICAL)[ :]+(?:[\w.]+: )?(.+)")
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_STORAGE_URI = "STORAGE_URI"
RATCHET_PREFIX = "RATCHET_"
"""Of the variables that Ratchet's own model server reads."""
MODEL_DIGEST_VARIABLE = f"{RATCHET_PREFIX}MODEL_DIGEST"
"""Tells that server the digest of the model that it must serve."""
REFUSED_EXIT_CODE = 3
"""With which that server ends when the model's files are not what they should be."""


class StartFailed(Exception):
    """The message is for the InferenceService's conditions: what failed, and the end of the log."""


def cause_in(text: str) -> str:
    """A server's own last word: its last line of level ERROR or CRITICAL, else its last line; "" for an empty log."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [found[1] for line in lines if (found := _ERROR_LINE.match(line))]
    return (errors or lines or [""])[-1][:_CAUSE_NUM_CHARS]


def command_of(command: tuple[str, ...], *, env: Mapping[str, str], port: int, mount: str) -> list[str]:
    """The command of a container as it runs without one.

    On a cluster each container has a network and a file system of its own; here `--http_port` and `--host` get this
    process's port and the loopback address, and MOUNT the folder that the model was downloaded to. `$(NAME)` is
    expanded as Kubernetes does it, PORT among them. A command that names no port at all gets `--http_port` appended.
    """
    words = [_REFERENCE.sub(lambda found: env.get(found[1], found[0]), word) for word in command]
    words = _with_option(words, "--http_port", str(port))
    words = _with_option(words, "--host", "127.0.0.1")
    has_port = any("$(PORT)" in word or word.startswith("--http_port") for word in command)
    words = words if has_port else [*words, f"--http_port={port}"]
    return [word.replace(MOUNT, mount) for word in words]


def model_name_of(command: tuple[str, ...]) -> str:
    """What the server calls its model; the last --model_name counts, as the server reads it. "" when it names none."""
    name = ""
    for index, word in enumerate(command):
        if word.startswith("--model_name="):
            name = word.partition("=")[2]
        elif index and command[index - 1] == "--model_name":
            name = word
    return name


def _with_option(words: list[str], option: str, value: str) -> list[str]:
    """Give an option another value, where the command has it: `--option X` or `--option=X`."""
    replaced = [f"{option}={value}" if word.startswith(f"{option}=") else word for word in words]
    return [value if index and replaced[index - 1] == option else word for index, word in enumerate(replaced)]


def env_of(variables: tuple[ContainerEnvVar, ...], secrets_dir: Path) -> dict[str, str]:
    """Names and values; ControlPlaneError when a secret has gone since the manifest was accepted."""
    env: dict[str, str] = {}
    for variable in variables:
        if variable.source is None:
            env[variable.name] = _REFERENCE.sub(lambda found: env.get(found[1], found[0]), variable.value)
            continue
        path = secrets_dir / variable.source.secret / variable.source.key
        if path.is_file():
            env[variable.name] = path.read_text()
        elif not variable.source.is_optional:
            raise StartFailed(f"env {variable.name}: {path} is gone. Put the secret back, or change the manifest.")
    return env


def mounted(env: Mapping[str, str], mount: str) -> dict[str, str]:
    return {name: value.replace(MOUNT, mount) for name, value in env.items()}


def exit_text(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def may_be_forked(variables: tuple[ContainerEnvVar, ...]) -> bool:
    """Whether a process of a fork server can stand for a fresh one: libraries read some variables while they are
    imported (OMP_NUM_THREADS), which it did long ago. Ratchet's own are read later."""
    return all(each.name.startswith(RATCHET_PREFIX) or each.name == _STORAGE_URI for each in variables)
