"""A changed copy derives anew what was derived of the original."""

import ast
from pathlib import Path

from ratchet.core.labels.schema import CategoryOutput, ExampleSchema, NumberInput
from ratchet.tasks.spec import TaskSpec

ROOT = Path(__file__).parents[3]
FIELDS = {
    "name": "flights",
    "inputs": [{"name": "distance", "type": "number", "max": 5}],
    "output": {"name": "late", "type": "category", "classes": ["no", "yes"]},
    "model": {"kind": "tabular"},
}


def test_a_changed_task_has_the_examples_of_its_new_fields() -> None:
    spec = TaskSpec.model_validate(FIELDS)
    assert spec.examples.classes == ("no", "yes")
    changed = spec.model_copy(update={"output": CategoryOutput(classes=("a", "b", "c"))})
    assert changed.classes == changed.examples.classes == ("a", "b", "c")
    assert spec.classes == ("no", "yes")
    assert spec.model_copy(update={"inputs": (NumberInput(name="other"),)}).examples.inputs[0].name == "other"


def test_a_changed_schema_is_freed_of_its_own_limits() -> None:
    schema = ExampleSchema.model_validate({name: FIELDS[name] for name in ("inputs", "output")})
    assert schema.without_limits.inputs[0].name == "distance"
    assert schema.model_copy(update={"inputs": (NumberInput(name="b"),)}).without_limits.inputs[0].name == "b"


def test_every_model_with_cached_properties_copies_them_anew() -> None:
    found = []
    for path in sorted((ROOT / "ratchet").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} == {"BaseModel"}:
                names = {ast.unparse(each) for item in ast.walk(node) if isinstance(item, ast.FunctionDef)
                         for each in item.decorator_list}  # fmt: skip
                if "cached_property" in names:
                    found.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert not found, "make it a ratchet.core.fresh_copy.FreshCopy"
