import ast
import subprocess
import sys
from pathlib import Path

from tests.architecture.trees import tree_of

ROOT = Path(__file__).parents[2]


def test_imports_go_one_way():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_heavy_libraries_are_not_imported_by_the_command_line():
    """`ratchet --help` stays quick: each library is loaded where it is used."""
    program = "import sys, cli.main; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {
        "torch",
        "numpy",
        "pyarrow",
        "httpx",
        "mlflow",
        "kfp",
        "kserve",
        "dvc",
        "evidently",
        "great_expectations",
        "sklearn",
        "pandas",
        "scipy",
    }
    assert not heavy & set(done.stdout.split())


def test_one_module_makes_our_http_requests():
    """The clients of others (kfp's, MLflow's, botocore's) bring their own; what is asked by us has one retry and one
    table of errors. The demo looks on as an outsider does."""
    makers = {"urllib.request", "http.client", "httpx", "requests", "aiohttp", "httpcore"}
    found = {
        str(path.relative_to(ROOT))
        for folder in ("ratchet", "cli", "components", "sensors", "pipelines", "wire")
        for path in (ROOT / folder).rglob("*.py")
        if makers & _imported_when_run(tree_of(path))
    }
    assert found == {"ratchet/adapters/http.py"}


def _imported_when_run(tree: ast.AST) -> set[str]:
    """Modules that are imported at any place but under `if TYPE_CHECKING`."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
        names |= _imported_when_run(node)
    return names | {name.partition(".")[0] for name in names if name.startswith("httpx.")}


def test_no_step_imports_torch_before_it_has_to():
    """It takes 3 s: `finetune` leaves it to its workers, and `evaluate` starts a model server first."""
    steps = [f"components.{path.parent.name}.step" for path in sorted((ROOT / "components").glob("*/step.py"))]
    program = f"import sys, {', '.join(steps)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", f"one of {', '.join(steps)} imports torch"
