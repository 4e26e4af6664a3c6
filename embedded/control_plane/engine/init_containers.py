"""Init containers: commands that end, one after the other, before the command of the task begins. Pure.

Source: kubeflow/pipelines, backend/src/v2/driver/k8s.go, extendPodSpecPatch (InitContainers).
"""

from collections.abc import Iterator, Sequence

from embedded.control_plane.engine.kubernetes_spec import InitContainer, KubernetesExecutor
from embedded.control_plane.engine.mounts import Mount, check_mount_paths
from embedded.control_plane.errors import DataRejected

_LAUNCHER = "kfp-launcher"
"""The init container that a cluster has in every pod."""


def check_init_containers(kubernetes: KubernetesExecutor, *, where: str) -> None:
    """DataRejected for one that a cluster refuses, or that no process of this machine can stand for."""
    taken = {_LAUNCHER, "main"}
    volumes = _volumes_of(kubernetes)
    for init in kubernetes.init_containers:
        whose = f"{where}: the init container {init.name!r}"
        if not init.name or init.name in taken:
            raise DataRejected(f"{whose} has no name of its own.")
        taken.add(init.name)
        if init.restart_policy:
            raise DataRejected(f"{whose} is a sidecar (restartPolicy {init.restart_policy!r}): not supported here.")
        if not init.command:
            raise DataRejected(f"{whose} has no command; an image's entry point cannot run here. Add it.")
        check_mount_paths([mount.mount_path for mount in init.volume_mounts], where=whose)
        for mount in init.volume_mounts:
            if mount.volume_name not in volumes and "" not in volumes:  # "": of a name that only the run will tell
                raise DataRejected(f"{whose} mounts {mount.volume_name!r}, which is no volume of the task.")


def mounts_of(init: InitContainer, kubernetes: KubernetesExecutor, mounts: Sequence[Mount]) -> list[Mount]:
    """The folders of the task's volumes, where this init container has them.

    kubernetes: with all names resolved. mounts: of the task.
    """
    by_path = {mount.path: mount for mount in mounts}
    volumes = {name: by_path[path] for name, path in _volumes_of(kubernetes).items() if path in by_path}
    found = []
    for one in init.volume_mounts:
        if one.volume_name not in volumes:
            raise DataRejected(
                f"the init container {init.name!r} mounts {one.volume_name!r}, which is no volume of the task."
            )
        mount = volumes[one.volume_name]
        found.append(Mount(_clean(one.mount_path), mount.folder, f"{mount.what}, in init container {init.name!r},"))
    return found


def _volumes_of(kubernetes: KubernetesExecutor) -> dict[str, str]:
    """Mount path in the task of each volume by its name."""
    return dict(_named(kubernetes))


def _named(kubernetes: KubernetesExecutor) -> Iterator[tuple[str, str]]:
    for secret in kubernetes.secret_as_volume:
        yield secret.secret_name, _clean(secret.mount_path)
    for config_map in kubernetes.config_map_as_volume:
        yield config_map.config_map_name, _clean(config_map.mount_path)
    for claim in kubernetes.pvc_mount:
        yield claim.constant, _clean(claim.mount_path)
    for empty in kubernetes.empty_dir_mounts:
        yield empty.volume_name, _clean(empty.mount_path)
    for ephemeral in kubernetes.generic_ephemeral_volume:
        yield ephemeral.volume_name, _clean(ephemeral.mount_path)


def _clean(path: str) -> str:
    return path.rstrip("/")
