"""Where the embedded stack keeps things: one folder, private to its owner."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Layout(BaseModel):
    """The paths below the state folder (`settings.state_dir`, absolute)."""

    model_config = ConfigDict(frozen=True)

    state_dir: Path

    @property
    def profile(self) -> Path:
        return self.state_dir / "profile.env"

    @property
    def credentials(self) -> Path:
        return self.state_dir / "credentials.json"

    @property
    def signing_key(self) -> Path:
        return self.state_dir / "signing_key.pem"

    @property
    def trusted_keys(self) -> Path:
        return self.state_dir / "trusted_keys.pem"

    @property
    def ports(self) -> Path:
        return self.state_dir / "ports.json"

    @property
    def report(self) -> Path:
        return self.state_dir / "stack.json"

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "kubeconfig"

    @property
    def secrets(self) -> Path:
        """`<secret name>/<key>`: what Kubernetes Secrets are on a cluster."""
        return self.state_dir / "secrets"

    @property
    def dataset_repo(self) -> Path:
        return self.state_dir / "datasets.git"

    @property
    def object_store(self) -> Path:
        return self.state_dir / "object_store"

    @property
    def mlflow(self) -> Path:
        return self.state_dir / "mlflow"

    @property
    def mlflow_token(self) -> Path:
        return self.mlflow / "token"

    @property
    def gateway(self) -> Path:
        return self.state_dir / "gateway"

    @property
    def sockets(self) -> Path:
        """Unix sockets; a link to a folder elsewhere when the state folder's path is too long for them."""
        return self.state_dir / "run"

    @property
    def xds(self) -> Path:
        """Envoy watches this folder: clusters and routes, written by the control plane."""
        return self.gateway / "xds"

    @property
    def control_plane(self) -> Path:
        return self.state_dir / "control_plane"

    @property
    def token(self) -> Path:
        return self.control_plane / "token"

    @property
    def kfp_token(self) -> Path:
        return self.control_plane / "kfp_token"

    @property
    def up_lock(self) -> Path:
        """Held by `ratchet up` and `ratchet down` while they work."""
        return self.state_dir / "up.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.state_dir / "supervisor.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held by the supervisor's keeper as long as it lives."""
        return self.state_dir / "keeper.lock"

    def log_of(self, name: str) -> Path:
        return self.state_dir / "logs" / f"{name}.log"


_SOCKET_DIR_BYTES_MAX = 70
"""Linux allows 107 bytes for a socket's path, its name included."""


def make_socket_dir(layout: Layout) -> Path:
    """The folder of the unix sockets, private to its owner, by its short path."""
    link = layout.sockets
    if len(os.fsencode(link)) <= _SOCKET_DIR_BYTES_MAX:
        make_private_dir(link)
        return link
    if not (link.is_symlink() and _is_private_dir(link)):
        link.unlink(missing_ok=True)
        link.symlink_to(tempfile.mkdtemp(prefix="ratchet-"))
    return link.readlink()


def remove_socket_dir(layout: Layout) -> None:
    """Leave nothing behind, outside of the state folder above all."""
    if layout.sockets.is_symlink():
        if _is_private_dir(layout.sockets):
            shutil.rmtree(layout.sockets.readlink())
        layout.sockets.unlink()
    elif layout.sockets.is_dir():
        shutil.rmtree(layout.sockets)


def _is_private_dir(path: Path) -> bool:
    """Whether it is still ours: a cleaner of /tmp may have removed it, and anybody may make one of that name."""
    if not path.is_dir():
        return False
    stat = path.stat()
    return stat.st_uid == os.getuid() and stat.st_mode & 0o077 == 0


def make_private_dir(path: Path) -> None:
    """A folder that only its owner may enter, and its missing parents."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only: nobody ever sees half of it."""
    make_private_dir(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(temporary).rename(path)


def remove_half_written(layout: Layout) -> None:
    """What writers of small files left when they were killed. Called while no server runs."""
    folders = (layout.state_dir, layout.gateway, layout.object_store, layout.control_plane, *layout.secrets.glob("*"))
    for folder in folders:
        for half in folder.glob(".*"):
            if _HALF_WRITTEN.fullmatch(half.name) and half.is_file():
                half.unlink(missing_ok=True)


_HALF_WRITTEN = re.compile(r"\..+\.[a-z0-9_]{8}")
"""`write_private` and the control plane's gateway let mkstemp name a file that is not whole yet."""
