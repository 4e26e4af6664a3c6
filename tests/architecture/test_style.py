"""The part of our style that a machine can hold: sizes, types, where the environment is read, what a name may be."""

import ast
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import pytest

from tests.architecture.trees import tree_of

ROOT = Path(__file__).parents[2]
PACKAGES = ("ratchet", "cli", "components", "pipelines", "sensors", "embedded", "demo", "benchmarks", "wire")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LINES_A_MODULE_MAX = 300
LINES_OF_ONE_TOPIC_MAX = 500
"""Of a module whose docstring says why it is one."""
REASON = "One module, over 300 lines: "
LINES_A_FUNCTION_MAX = 70
FORBIDDEN_NAMES = ("utils", "helpers", "misc", "common")


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_sentence_is_cut_by_a_line_break():
    """Two texts on two lines are one sentence between parentheses only; else the second is a statement, and lost."""
    for path in MODULES:
        for function in functions_of(path):
            for text in _texts_without_use_in(function):
                pytest.fail(f"{path}, line {text.lineno}: this text is used nowhere; put both lines in parentheses")


def _texts_without_use_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.stmt]:
    for block in (body for node in ast.walk(function) if isinstance(body := getattr(node, "body", None), list)):
        for before, after in pairwise(block):
            is_about_attribute = isinstance(_target_of(before), ast.Attribute) and not _is_joined(after)
            if isinstance(after, ast.Expr) and _is_text(after.value) and not is_about_attribute:
                yield after


def _target_of(statement: ast.stmt) -> ast.expr | None:
    if isinstance(statement, ast.AnnAssign):
        return statement.target
    return statement.targets[0] if isinstance(statement, ast.Assign) else None


def _is_joined(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.JoinedStr)


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_small_and_so_are_its_functions(path):
    num_lines, limit = len(path.read_text().splitlines()), _lines_max_of(path)
    assert num_lines <= limit, f"{num_lines} lines, limit {limit}: split it by topic, or say why not ({REASON!r})"
    for function in functions_of(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= LINES_A_FUNCTION_MAX, f"{function.name} has {length} lines"


def _lines_max_of(path: Path) -> int:
    is_one_topic = REASON in (ast.get_docstring(tree_of(path)) or "")
    return LINES_OF_ONE_TOPIC_MAX if is_one_topic else LINES_A_MODULE_MAX


def test_a_module_that_says_why_it_is_long_is_long():
    for path in MODULES:
        if REASON in path.read_text():
            assert len(path.read_text().splitlines()) > LINES_A_MODULE_MAX, f"{path}: take the sentence out"


def test_each_product_reads_the_environment_in_one_module():
    readers = [path for path in MODULES if "os.environ" in path.read_text() or "os.getenv" in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in readers] == [
        "ratchet/settings.py",
        "ratchet/training/meeting.py",  # what torchrun tells its workers, not settings of ours
        "embedded/control_plane/host/child_env.py",
    ]


CONTROL_PLANE = [path for path in MODULES if path.is_relative_to(ROOT / "embedded" / "control_plane")]
PRODUCT = [
    path
    for path in MODULES
    if path not in CONTROL_PLANE and path.relative_to(ROOT).parts[0] not in {"demo", "benchmarks"}
]
SAME_ROLE = {
    "Paths": "the files of one step: what KFP hands to each `components/*/step.py`",
    "Stores": "the ports of one step: what each `components/*/step.py` asks",
}
"""Names that several classes share because knowing one step is knowing all, and why."""


@pytest.mark.parametrize(
    "modules", [pytest.param(PRODUCT, id="ratchet"), pytest.param(CONTROL_PLANE, id="control-plane")]
)
def test_a_public_class_name_means_one_thing_in_a_product(modules):
    places: dict[str, list[str]] = {}
    for path in modules:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    shared = {name: found for name, found in places.items() if len(found) > 1}
    for name in SAME_ROLE:
        found = shared.pop(name, [])
        assert all(fnmatch(path, "components/*/step.py") for path in found), f"{name}: {found}"
    assert not shared, f"two classes of one name, rename the less central one: {shared}"


def test_settling_means_that_opinions_settle_on_a_label():
    """Shards are judged, claims followed up, aliases aligned; revisions converge, and a status has observed a spec."""
    said = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if "settle" in line.lower()
    ]
    labels = ("agreement", "consensus", "corrections", "quality")
    meant = {f"ratchet/core/labels/{name}.py" for name in labels}
    meant |= {f"components/ingest/{name}.py" for name in ("component", "step")}
    assert not [place for place in said if place.partition(":")[0] not in meant]


def test_no_module_is_a_drawer_for_everything():
    assert not [path for path in MODULES if path.stem in FORBIDDEN_NAMES]


def test_each_component_is_a_contract_and_a_step():
    for folder in sorted((ROOT / "components").iterdir()):
        if folder.is_dir() and folder.name != "__pycache__":
            assert {path.name for path in folder.glob("*.py")} >= {"__init__.py", "component.py", "step.py"}, folder


def test_all_of_a_packages_front_names_what_it_offers():
    for path in MODULES:
        if path.name != "__init__.py":
            continue
        tree = tree_of(path)
        lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and _names_all(node)]
        if not lists:
            continue
        offered = {name for node in tree.body for name in _public_names(node)}
        assert set(ast.literal_eval(lists[0])) == offered, path


def _names_all(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


def _public_names(node: ast.stmt) -> Iterator[str]:
    names: list[str] = []
    if isinstance(node, ast.ImportFrom):
        names = [alias.asname or alias.name for alias in node.names]
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names = [node.name]
    elif isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
    yield from (name for name in names if not name.startswith("_"))


def test_nothing_loads_a_pickle():
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"pickle", "cloudpickle", "joblib", "dill"}, path


def test_no_generated_file_is_tracked():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [line for line in tracked.splitlines() if ".ratchet/" in line or "__pycache__" in line]
