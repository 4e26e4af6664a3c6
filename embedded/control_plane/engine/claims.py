"""PersistentVolumeClaims as folders: what kfp-kubernetes' CreatePVC and DeletePVC do here."""

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from embedded.control_plane.engine.cluster_settings import check_claim_inputs
from embedded.control_plane.engine.images import DEED_OF_CLUSTER
from embedded.control_plane.engine.values import Values
from embedded.control_plane.engine.volumes import DEEDS, claim_folder, forget_uses, used_by
from embedded.control_plane.errors import DataRejected

_WITHOUT_MEANING = ("access_modes", "size", "storage_class_name", "annotations")


def operation_of(image: str) -> Callable[..., Values] | None:
    """What to do for a task with this image; None when it is none of ours. DataRejected for one that is unknown."""
    if not image.startswith(DEED_OF_CLUSTER):
        return None
    operation = {"createpvc": create_claim, "deletepvc": delete_claim}.get(image.removeprefix(DEED_OF_CLUSTER))
    if operation is None:
        raise DataRejected(
            f"{image.removeprefix(DEED_OF_CLUSTER)} needs a Kubernetes cluster. Take it out to run here."
        )
    return operation


def create_claim(inputs: Values, *, task_id: str, volumes_dir: Path) -> Values:
    """A folder under a name of its own. DataRejected when the name is taken, as on a cluster."""
    given = inputs.parameters
    check_claim_inputs(given)
    name = str(given.get("pvc_name") or "")
    if not name:
        name = f"{uuid.uuid5(uuid.NAMESPACE_OID, task_id)}{given.get('pvc_name_suffix') or ''}"
    if given.get("volume_name"):
        raise DataRejected(f"volume_name {given['volume_name']!r}: there are no PersistentVolumes here. Leave it out.")
    folder = claim_folder(volumes_dir, name)
    if folder.exists() and _last_deed(volumes_dir, name) != f"made by {task_id}":
        raise DataRejected(f"PersistentVolumeClaim {name!r} exists already. Delete it, or use another name.")
    _note_deed(volumes_dir, name, f"made by {task_id}")
    with used_by(volumes_dir, name, run_id=task_id.partition("/")[0]):
        folder.mkdir(exist_ok=True)
    return Values(parameters={"name": name})


def delete_claim(inputs: Values, *, task_id: str, volumes_dir: Path) -> Values:
    name = str(inputs.parameters.get("pvc_name") or "")
    folder = claim_folder(volumes_dir, name)
    if not folder.is_dir() and _last_deed(volumes_dir, name) != f"deleted by {task_id}":
        raise DataRejected(f"PersistentVolumeClaim {name!r} is not there, so it cannot be deleted.")
    _note_deed(volumes_dir, name, f"deleted by {task_id}")
    shutil.rmtree(folder, ignore_errors=True)
    forget_uses(volumes_dir, name)
    return Values()


def ignored_in(inputs: Values) -> list[str]:
    return [name for name in _WITHOUT_MEANING if inputs.parameters.get(name)]


def _note_deed(volumes_dir: Path, name: str, deed: str) -> None:
    """Written down first: a task that runs again after a crash finds its own deed, and is content."""
    path = volumes_dir / DEEDS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(deed)


def _last_deed(volumes_dir: Path, name: str) -> str:
    path = volumes_dir / DEEDS / name
    return path.read_text() if path.is_file() else ""
