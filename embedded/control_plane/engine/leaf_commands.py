"""The commands of one attempt: its init containers, then its own; each a process here, or a container of its image."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from embedded.control_plane.engine.artifact_store import ArtifactStore
from embedded.control_plane.engine.attempt import Folders, LeafAttempt, write_notes
from embedded.control_plane.engine.environment import asked_environment, base_environment, check_given
from embedded.control_plane.engine.environments import EnvironmentBuilder, variables_in
from embedded.control_plane.engine.executor_io import executor_input_of
from embedded.control_plane.engine.init_containers import mounts_of
from embedded.control_plane.engine.mounts import Mount, make_mounts, with_folders, without_shared_memory
from embedded.control_plane.engine.oci import (
    Bind,
    ContainerRun,
    copy_words,
    list_words,
    remove_words,
    run_words,
    user_of,
)
from embedded.control_plane.engine.pip_calls import pip_needs_of, without_nested_venv
from embedded.control_plane.engine.placeholders import fill_command, fill_text
from embedded.control_plane.engine.task_process import TaskCommand, TaskProcess
from embedded.control_plane.engine.values import Values, digest_of
from embedded.control_plane.engine.workspace import needs_workspace, workspace_mount
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.host.child_env import child_env
from embedded.control_plane.host.container_engine import ContainerEngine

_COPY_S = 600
"""Of one file out of a container: an output may be a model of many GB."""
_REMOVE_S = 60


@dataclass(frozen=True)
class _Start:
    """One container of the task, as a cluster would start it."""

    image: str
    words: tuple[str, ...]
    variables: dict[str, str]
    literal: frozenset[str]
    """Names of the variables whose values the author of the pipeline wrote: they may name mount paths."""
    mounts: Sequence[Mount]
    what: str = ""
    """Begins the message of its failure; "" for the task's own."""

    @property
    def is_main(self) -> bool:
        return not self.what


def commands_of(
    leaf: LeafAttempt, process: TaskProcess, folders: Folders, *, scratch_dir: Path, held: ExitStack
) -> Iterator[tuple[str, TaskCommand]]:
    """What each is, "" for the task itself, and how to run it. held: what must stay while the commands run."""
    inputs = ArtifactStore(folders.secrets_dir).stage_in(
        leaf.record.inputs, leaf.staging_dir(folders), workspace=leaf.workspace_dir(folders)
    )
    executor_input = executor_input_of(leaf.component, inputs, root=leaf.output_root, given=leaf.record.inputs)
    mounts = _mounts(leaf, folders, scratch_dir)
    for start in _starts(leaf, folders, executor_input, mounts):
        check_given(start.words, start.variables)
        if folders.container_engine is None:
            yield start.what, _process_command(start, leaf, process, folders, scratch_dir=scratch_dir, held=held)
        else:
            yield (
                start.what,
                _container_command(start, leaf, folders, folders.container_engine, inputs, scratch_dir, held),
            )


def file_taker(leaf: LeafAttempt, folders: Folders, *, cwd: Path) -> Callable[[str, Path], None]:
    """Copies a file or folder that a task named as its artifact (`custom_path`) to where the artifact belongs."""
    if folders.container_engine is not None:
        return partial(_take_from_container, folders.container_engine, _container_name(leaf, folders))
    return partial(_take_file, cwd)


def remove_leftovers(engine: ContainerEngine, engine_id: str) -> None:
    """End the containers of a control plane that was killed; their tasks run again."""
    done = subprocess.run(
        list_words(engine, engine_id), env=child_env({}), capture_output=True, text=True, timeout=_REMOVE_S, check=False
    )
    if names := done.stdout.split():
        _run_quietly(remove_words(engine, *names))


def _mounts(leaf: LeafAttempt, folders: Folders, scratch_dir: Path) -> list[Mount]:
    mounts = make_mounts(
        leaf.kubernetes if folders.container_engine else without_shared_memory(leaf.kubernetes),
        scratch_dir=scratch_dir,
        secrets_dir=folders.secrets_dir,
        volumes_dir=folders.volumes_dir,
        run_id=leaf.run_id,
        ours=(
            *(scratch_dir, leaf.output_root.folder, leaf.staging_dir(folders), folders.project_dir),
            Path(sys.prefix),
        ),
    )
    if leaf.pipeline.has_workspace and needs_workspace(leaf.record.inputs):
        leaf.workspace_dir(folders).mkdir(parents=True, exist_ok=True)
        mounts.append(workspace_mount(leaf.workspace_dir(folders)))
    return mounts


def _starts(
    leaf: LeafAttempt, folders: Folders, executor_input: dict[str, Any], mounts: Sequence[Mount]
) -> Iterator[_Start]:
    container, job = leaf.container, leaf.task_job
    for init in leaf.kubernetes.init_containers:
        variables = {variable.name: variable.value for variable in init.env}
        own = mounts_of(init, leaf.kubernetes, mounts)
        words, what = (*init.command, *init.args), f"init container {init.name!r}: "
        yield _Start(init.image, words, variables, frozenset(variables), own, what)
    words = fill_command(
        (*container.command, *container.args),
        executor_input=executor_input,
        job=job,
        given=frozenset(leaf.record.inputs.parameters),
    )
    variables = asked_environment(
        container,
        leaf.kubernetes,
        executor_input=executor_input,
        job=job,
        secrets_dir=folders.secrets_dir,
        pod=leaf.pod,
    )
    image = fill_text(container.image, executor_input=executor_input, job=job)
    yield _Start(image, words, variables, frozenset(variable.name for variable in container.env), mounts)


def _process_command(
    start: _Start, leaf: LeafAttempt, process: TaskProcess, folders: Folders, *, scratch_dir: Path, held: ExitStack
) -> TaskCommand:
    log_path = leaf.log_path(folders)
    write_notes(log_path, [mount.note for mount in start.mounts])
    env = base_environment(project_dir=folders.project_dir, tmp_dir=scratch_dir)
    env |= start.variables
    env |= {name: with_folders(start.variables[name], start.mounts) for name in start.literal}
    words, mark = start.words, leaf.mark(folders)
    if start.is_main:
        words = without_nested_venv(words)
        needs = pip_needs_of((*leaf.container.command, *leaf.container.args))
        if not needs.is_nothing:
            root = folders.environments_dir
            builder = EnvironmentBuilder(root, process, log_path=log_path, mark=mark, cwd=scratch_dir)
            env = variables_in(held.enter_context(builder.environment_for(needs)), env, needs=needs)
    return TaskCommand(
        words=tuple(with_folders(word, start.mounts) for word in words),
        env=env,
        cwd=scratch_dir,
        log_path=log_path,
        mark=mark,
        timeout_s=leaf.kubernetes.active_deadline_seconds,
        memory_bytes_max=leaf.memory_bytes_max,
        exit_path=folders.exit_of(leaf.run_id, leaf.record) if start.is_main else None,
        warm=folders.warm if start.is_main else None,
    )


def _container_command(
    start: _Start,
    leaf: LeafAttempt,
    folders: Folders,
    engine: ContainerEngine,
    inputs: Values,
    scratch_dir: Path,
    held: ExitStack,
) -> TaskCommand:
    if not start.image:
        raise DataRejected("the task names no image, and RATCHET_TASK_RUNTIME=oci runs nothing else.")
    name = _container_name(leaf, folders) if start.is_main else f"{_container_name(leaf, folders)}-init"
    _run_quietly(remove_words(engine, name))  # of the init container before this one
    held.callback(_run_quietly, remove_words(engine, name))
    run = ContainerRun(
        name=name,
        engine_id=folders.engine_id,
        image=start.image,
        words=start.words,
        variables=tuple(start.variables),
        binds=(*_binds_of(leaf, folders, inputs), *(Bind(one.folder, one.path, True) for one in start.mounts)),
        memory_bytes_max=leaf.memory_bytes_max,
        num_gpus=leaf.num_gpus,
        user=user_of(engine, uid=os.getuid(), gid=os.getgid()),
    )
    return TaskCommand(
        words=run_words(engine, run),
        env=child_env(start.variables),
        cwd=scratch_dir,
        log_path=leaf.log_path(folders),
        mark=leaf.mark(folders),
        timeout_s=leaf.kubernetes.active_deadline_seconds,
        exit_path=folders.exit_of(leaf.run_id, leaf.record) if start.is_main else None,
    )


def _binds_of(leaf: LeafAttempt, folders: Folders, inputs: Values) -> Iterator[Bind]:
    """The folder of its outputs, and each artifact that it reads, where they are on this machine."""
    output_dir = leaf.output_root.folder
    yield Bind(output_dir, str(output_dir), True)
    paths = {Path(artifact.uri) for artifacts in inputs.artifacts.values() for artifact in artifacts}
    for path in sorted(paths):
        if path.is_absolute() and path.exists():
            yield Bind(path, str(path), False)


def _container_name(leaf: LeafAttempt, folders: Folders) -> str:
    return f"ratchet-{folders.engine_id[:12]}-{digest_of(leaf.mark(folders))[:16]}"


def _take_file(cwd: Path, path: str, target: Path) -> None:
    source = cwd / path
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        shutil.copyfile(source, target)


def _take_from_container(engine: ContainerEngine, name: str, path: str, target: Path) -> None:
    words = copy_words(engine, name, path, target)
    subprocess.run(words, env=child_env({}), capture_output=True, timeout=_COPY_S, check=False)


def _run_quietly(words: Sequence[str]) -> None:
    subprocess.run(words, env=child_env({}), capture_output=True, timeout=_REMOVE_S, check=False)
