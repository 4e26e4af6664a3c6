"""Ratchet as `pip install` leaves it: a wheel in an environment of its own, in a folder that is no checkout."""

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.conftest import PROJECT_DIR


def install_wheel(folder: Path) -> Path:
    """The `ratchet` command of a fresh environment that has our wheel, and the locked libraries from this one.

    The libraries are on its path through a .pth file, in which no other .pth counts: this checkout, which is installed
    editable here, is not on it.
    """
    wheels, environment = folder / "wheels", folder / "environment"
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels))
    _run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = environment / "bin" / "python"
    site = next((environment / "lib").glob("python3*/site-packages"))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = wheels.glob("ratchet-*.whl")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check")
    _run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    return environment / "bin" / "ratchet"


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
