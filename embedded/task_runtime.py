"""What runs the images of tasks, asked by the stack and the doctor before the control plane asks."""

from embedded.control_plane import errors
from embedded.control_plane.host.container_engine import ContainerEngine, find_container_engine
from ratchet.core.errors import SettingsError
from ratchet.settings import TASK_RUNTIME_VARIABLE


def require_container_engine() -> ContainerEngine:
    """SettingsError says which engines were tried, and what to do, when none can run a container."""
    try:
        return find_container_engine()
    except errors.SettingsError as error:
        raise SettingsError(f"{TASK_RUNTIME_VARIABLE} is oci, and {error}") from None
