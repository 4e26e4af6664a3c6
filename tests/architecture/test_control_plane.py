"""The embedded control plane is a product of its own: it runs where nothing else of ours is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STACK = sorted(path.stem for path in (ROOT / "embedded").glob("*.py") if path.stem != "__init__")
PROGRAM = """
import asyncio, importlib, pkgutil, sys
from pathlib import Path

class Hidden:
    def find_spec(self, name, path=None, target=None):
        is_of_stack = name.startswith("embedded.") and name.split(".")[1] in STACK
        if name.split(".")[0] in OTHERS or is_of_stack:
            raise ModuleNotFoundError(f"{name} is hidden", name=name)

OTHERS, STACK = {"ratchet", "cli", "components", "pipelines", "sensors", "demo"}, set(sys.argv[2].split())
sys.meta_path.insert(0, Hidden())
import embedded.control_plane as package
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(found.name)

import httpx
from embedded.control_plane.app import create_app
from embedded.control_plane.config import ControlPlaneConfig

ADDRESS = "http://127.0.0.1:1"
folder = Path(sys.argv[1])
names = ("data_dir", "secrets_dir", "xds_dir", "runtimes_dir", "project_dir")
folders = {name: folder / name for name in names}
app = create_app(ControlPlaneConfig(port=1, gateway_url="http://127.0.0.1:2", token="t", **folders))

async def live():
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
        for path in ("/healthz", "/apis/v2beta1/pipelines", "/apis"):
            answer = await client.get(path, headers={"authorization": "Bearer t"})
            assert answer.status_code == 200, (path, answer.text)

asyncio.run(live())
"""


@pytest.mark.slow
def test_the_control_plane_imports_and_starts_with_all_other_packages_hidden(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, str(tmp_path), " ".join(STACK)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
