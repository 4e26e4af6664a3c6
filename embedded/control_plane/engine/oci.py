"""The task's own image, run by a container engine (podman, nerdctl or docker): the argv. Pure.

The folders of the run are mounted where they are on this machine, volumes where the pipeline mounts them, and the
network is the machine's own, so all addresses mean the same inside. Values of variables stay out of the argv, which
every user of the machine can read: `--env NAME` takes the value from the environment of the engine's command line.
"""

from dataclasses import dataclass
from pathlib import Path

from embedded.control_plane.host.container_engine import ContainerEngine

ENGINE_LABEL = "ratchet.engine"
"""On every container of ours: the id of the control plane that started it."""


@dataclass(frozen=True)
class Bind:
    source: Path
    target: str
    is_writable: bool


@dataclass(frozen=True)
class ContainerRun:
    """One container. words: command and arguments together, as KFP's launcher runs them in place of the entry point."""

    name: str
    engine_id: str
    image: str
    words: tuple[str, ...]
    variables: tuple[str, ...]
    binds: tuple[Bind, ...]
    memory_bytes_max: int = 0
    """0 = no limit."""
    num_gpus: int = 0
    user: str = ""
    """uid:gid; "" is the image's own."""


def run_words(engine: ContainerEngine, run: ContainerRun) -> tuple[str, ...]:
    """The command that runs the container and ends with its exit code. The container stays until `remove_words`."""
    options = ["--name", run.name, "--label", f"{ENGINE_LABEL}={run.engine_id}", "--network", "host"]
    for bind in run.binds:
        mode = "rw" if bind.is_writable else "ro"
        options += ["--volume", f"{bind.source}:{bind.target}:{mode}"]
    for variable in sorted(run.variables):
        options += ["--env", variable]
    if run.memory_bytes_max:
        options += ["--memory", str(run.memory_bytes_max)]
    if run.num_gpus:
        options += ["--device", "nvidia.com/gpu=all"] if engine.name == "podman" else ["--gpus", str(run.num_gpus)]
    if run.user:
        options += ["--user", run.user]
    entry_point, *rest = run.words
    return (engine.program, "run", *options, "--entrypoint", entry_point, run.image, *rest)


def copy_words(engine: ContainerEngine, name: str, path: str, target: Path) -> tuple[str, ...]:
    """Take a file or folder out of a container that has ended."""
    return (engine.program, "cp", f"{name}:{path}", str(target))


def remove_words(engine: ContainerEngine, *names: str) -> tuple[str, ...]:
    """End and remove containers; one that is gone already is no error."""
    return (engine.program, "rm", "--force", "--volumes", *names)


def list_words(engine: ContainerEngine, engine_id: str) -> tuple[str, ...]:
    """The names of all containers that a control plane has started."""
    return (engine.program, "ps", "--all", "--quiet", "--filter", f"label={ENGINE_LABEL}={engine_id}")


def user_of(engine: ContainerEngine, *, uid: int, gid: int) -> str:
    """Whose files a container writes must be ours: root's, in a rootless engine, are."""
    return "" if engine.is_rootless or uid == 0 else f"{uid}:{gid}"
