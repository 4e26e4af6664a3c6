"""docs/kinds and docs/migration.md: their task files and label lines are read, their tables name what there is."""

import json
import re
from pathlib import Path

import pytest
import yaml

from ratchet.core.labels.parsing import parse_label
from ratchet.tasks.kinds.options import INPUTS_OF, OPTIONS_OF, TRAINING_OF
from ratchet.tasks.spec import KINDS, TaskSpec
from ratchet.tasks.training_spec import TrainingSpec

PAGES = Path("docs/kinds")
LINES_MAX = 15
"""Of a task of a ready-made kind."""


def page_of(kind: str) -> str:
    return (PAGES / f"{kind}.md").read_text()


def blocks_of(language: str, page: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def table_of(page: str, heading: str) -> dict[str, str]:
    """First column to second, without backquotes, of the table whose first heading this is."""
    rows = page.partition(f"| {heading} |")[2].split("\n\n")[0].splitlines()[2:]
    return dict(re.findall(r"\| `([^`]+)` \| `([^`]+)`", row)[0] for row in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_a_short_task_file_and_a_label_line_of_it(kind):
    (file,), (line,) = blocks_of("yaml", page_of(kind)), blocks_of("json", page_of(kind))
    spec = TaskSpec.model_validate(yaml.safe_load(file))
    assert spec.model.kind == kind and len(file.splitlines()) <= LINES_MAX
    parse_label(json.loads(line), spec.examples, where="the page")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_lists_every_option_with_its_default(kind):
    told = {name: json.loads(value) if value[0] in "[0123456789n" else value for name, value in
            table_of(page_of(kind), "option").items()}  # fmt: skip
    assert told == OPTIONS_OF[kind]().model_dump(mode="json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_lists_the_training_defaults(kind):
    told = {name: yaml.safe_load(value) for name, value in table_of(page_of(kind), "training").items()}
    assert told == TRAINING_OF[kind]


def test_the_page_of_all_kinds_lists_every_choice_of_a_training():
    told = {name: yaml.safe_load(value) for name, value in table_of(page_of("README"), "field").items()}
    defaults = {name: getattr(TrainingSpec(), name) for name in TrainingSpec.model_fields}
    communication = {"communication": TrainingSpec().communication.model_dump()}
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    assert told == defaults | communication


def test_the_list_of_kinds_names_each_with_its_types():
    listed = dict(re.findall(r"\| \[\w+\]\((\w+)\.md\) \| `\w+` \| ([^|]+) \|", page_of("README")))
    assert set(listed) == set(KINDS)
    assert listed["tabular"] == ", ".join(INPUTS_OF["tabular"]) and INPUTS_OF["trees"] == INPUTS_OF["tabular"]


def test_the_two_forms_of_a_migrated_task_are_the_same_task():
    before, after = (
        TaskSpec.model_validate(yaml.safe_load(file))
        for file in blocks_of("yaml", Path("docs/migration.md").read_text())
    )
    assert before == after
