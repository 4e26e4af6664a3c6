"""Volumes of a task as local folders, and the rule that stands in for mounting them.

Nothing is mounted: that would take root. Where the task's command, its arguments (inputs included) or its variables
name the mount path, or a path below it, the folder's path takes its place. A program that puts the path together when
it runs does not find it.
"""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from embedded.control_plane.engine.environment import is_plain_name
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor
from embedded.control_plane.engine.volumes import claim_folder, used_by
from embedded.control_plane.errors import DataRejected

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the path that a container would see


@dataclass(frozen=True)
class Mount:
    path: str
    """Where it would be in a container."""
    folder: Path
    """Where it is here."""
    what: str

    @property
    def note(self) -> str:
        return f"{self.what} is not mounted at {self.path}: where the command names that path, {self.folder} is meant."


def mount_paths_of(kubernetes: KubernetesExecutor) -> list[str]:
    mounts: Sequence[Iterable[object]] = (
        kubernetes.secret_as_volume,
        kubernetes.config_map_as_volume,
        kubernetes.pvc_mount,
        kubernetes.empty_dir_mounts,
        kubernetes.generic_ephemeral_volume,
    )
    return [str(getattr(one, "mount_path", "")) for group in mounts for one in group]


def without_shared_memory(kubernetes: KubernetesExecutor) -> KubernetesExecutor:
    """For a process of this machine, which has all of /dev/shm: a volume in memory there asks for no more than that.

    One that an init container mounts too hands files on, so it stays a folder.
    """
    handed_on = {mount.volume_name for init in kubernetes.init_containers for mount in init.volume_mounts}
    others = tuple(
        each
        for each in kubernetes.empty_dir_mounts
        if each.medium != "Memory" or _clean(each.mount_path) != _SHARED_MEMORY or each.volume_name in handed_on
    )
    return kubernetes.model_copy(update={"empty_dir_mounts": others})


def check_mount_paths(paths: Sequence[str], *, where: str) -> None:
    """DataRejected for a path that cannot stand for a folder of ours."""
    for path in paths:
        if not path.startswith("/") or path.rstrip("/") == "" or ".." in PurePosixPath(path).parts:
            raise DataRejected(f"{where}: the mount path {path!r} must be absolute, and below /.")
    if double := sorted({path for path in paths if paths.count(path) > 1}):
        raise DataRejected(f"{where}: {double[0]!r} is mounted twice.")


def make_mounts(
    kubernetes: KubernetesExecutor,
    *,
    scratch_dir: Path,
    secrets_dir: Path,
    volumes_dir: Path,
    run_id: str,
    ours: Iterable[Path],
) -> list[Mount]:
    """The folders of a task's volumes, filled. DataRejected names what is not there, or cannot be.

    ours: folders that a command names as they are; a mount path may not hide them.
    """
    mounts: list[Mount] = []
    folder = scratch_dir / "volumes"
    for secret in kubernetes.secret_as_volume:
        what = f"Secret {secret.secret_name!r}"
        target = folder / str(len(mounts))
        _copy_keys(secrets_dir, secret.secret_name, target, optional=secret.optional, what=what)
        mounts.append(Mount(_clean(secret.mount_path), target, what))
    for config_map in kubernetes.config_map_as_volume:
        what = f"ConfigMap {config_map.config_map_name!r}"
        target = folder / str(len(mounts))
        _copy_keys(secrets_dir, config_map.config_map_name, target, optional=config_map.optional, what=what)
        mounts.append(Mount(_clean(config_map.mount_path), target, what))
    for claim in kubernetes.pvc_mount:
        target = claim_folder(volumes_dir, claim.constant) / _sub_path(claim.sub_path)
        with used_by(volumes_dir, claim.constant, run_id=run_id):
            target.mkdir(parents=True, exist_ok=True)
        mounts.append(Mount(_clean(claim.mount_path), target, f"PersistentVolumeClaim {claim.constant!r}"))
    for empty in kubernetes.empty_dir_mounts:
        target = folder / str(len(mounts))
        target.mkdir(parents=True)
        mounts.append(Mount(_clean(empty.mount_path), target, f"emptyDir {empty.volume_name!r}"))
    for ephemeral in kubernetes.generic_ephemeral_volume:
        target = folder / str(len(mounts))
        target.mkdir(parents=True)
        mounts.append(Mount(_clean(ephemeral.mount_path), target, f"ephemeral volume {ephemeral.volume_name!r}"))
    _check_hides_nothing(mounts, ours)
    return mounts


def lasting_mounts(kubernetes: KubernetesExecutor, *, volumes_dir: Path) -> list[Mount]:
    """Of `make_mounts`, those whose folders outlive the task. Pure."""
    return [
        Mount(
            _clean(claim.mount_path), claim_folder(volumes_dir, claim.constant) / _sub_path(claim.sub_path), "a claim"
        )
        for claim in kubernetes.pvc_mount
    ]


def with_mount_paths(value: Any, mounts: Sequence[Mount]) -> Any:
    """An output with the mount paths in place of the folders: a task's reader may mount the volume elsewhere. Pure."""
    if isinstance(value, str):
        return _replaced(value, {str(mount.folder): mount.path for mount in mounts})
    if isinstance(value, dict):
        return {key: with_mount_paths(inner, mounts) for key, inner in value.items()}
    return [with_mount_paths(inner, mounts) for inner in value] if isinstance(value, list) else value


def with_folders(text: str, mounts: Sequence[Mount]) -> str:
    """The text with the folders in place of the mount paths. Pure."""
    return _replaced(text, {mount.path: str(mount.folder) for mount in mounts})


def _replaced(text: str, others: Mapping[str, str]) -> str:
    """Each path, and the beginning of each path below it, by the other one."""
    if not others:
        return text
    # The longest first: /data/x must win over /data.
    paths = "|".join(re.escape(path) for path in sorted(others, key=len, reverse=True))
    return re.sub(rf"(?<![\w./\-])({paths})(?![\w.\-])", lambda match: others[match[1]], text)


def _copy_keys(secrets_dir: Path, name: str, target: Path, *, optional: bool, what: str) -> None:
    if not is_plain_name(name):
        raise DataRejected(f"{what}: that is not a name.")
    source = secrets_dir / name
    if source.is_dir():
        shutil.copytree(source, target)
    elif optional:
        target.mkdir(parents=True)
    else:
        raise DataRejected(f"{what} is not there. Write its values to files in {source}, one a key.")


def _sub_path(text: str) -> str:
    if text.startswith("/") or ".." in PurePosixPath(text).parts or "\0" in text:
        raise DataRejected(f"the sub path {text!r} leads out of its volume. Use one below it.")
    return text


def _check_hides_nothing(mounts: Iterable[Mount], ours: Iterable[Path]) -> None:
    for mount in mounts:
        for folder in ours:
            if folder.is_relative_to(mount.path):
                raise DataRejected(f"{mount.what}: the mount path {mount.path} would hide {folder}. Choose another.")


def _clean(path: str) -> str:
    return str(PurePosixPath(path))
