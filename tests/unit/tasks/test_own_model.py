"""The class of the page `own`, and what is said of one that is wrong."""

import re
from pathlib import Path

import pytest
import yaml

from ratchet.core.models.task_checks import CheckResult
from ratchet.tasks.spec import TaskSpec
from ratchet.training.task_check import check_task

GUIDE = Path("docs/kinds/own.md").read_text()
LINES_MAX = 40


def block_of(language: str, first_line: str) -> str:
    found = re.search(rf"```{language}\n(# {re.escape(first_line)}.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    return found[1]


CODE, FILE = block_of("python", "films/model.py"), block_of("yaml", "configs/tasks/films.yaml")


def checks_of(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> list[CheckResult]:
    """As `ratchet tasks check` tells them, of a user's folder."""
    (folder / "films").mkdir()
    (folder / "films" / "model.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    told: list[CheckResult] = []
    check_task(TaskSpec.model_validate(yaml.safe_load(FILE)), told.append)
    return [each for each in told if each.state != "begun"]


def test_the_class_of_the_guide_is_short_and_passes_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told = checks_of(tmp_path, monkeypatch, CODE)
    assert len(CODE[CODE.index("class Films") :].splitlines()) <= LINES_MAX
    assert [(each.check, each.state) for each in told if each.state == "failed"] == []
    names = [each.check for each in told]
    assert names == ["load", "fit", "encode", "build_model", "forward", "loss", "backward", "decode", "save and load"]


@pytest.mark.parametrize(
    ("old", "new", "check", "text"),
    [
        ("minutes.mean()", "minutes", "fit", "fit returned what JSON cannot hold"),
        ("minutes.mean()", "float('nan')", "fit", "fit returned what JSON cannot hold"),
        ('"genres": genres}', '"genres": genres}.keys()', "fit", "fit returned a dict_keys; it must return a dict"),
        ("minutes.std() + 1e-9", "0.0", "encode", "Films.encode returned a number that is not finite, first for row 0"),
        (
            "nn.Linear(32, 1)",
            "nn.Linear(32, 2)",
            "forward",
            "[64, 2]; it must return one number for each example",
        ),
    ],
)
def test_a_mistake_is_named_by_class_and_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, check: str, text: str
):
    failed = [each for each in checks_of(tmp_path, monkeypatch, CODE.replace(old, new)) if each.state == "failed"]
    assert [each.check for each in failed] == [check]
    assert text in failed[0].text
