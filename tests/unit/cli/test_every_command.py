"""What holds for every command of the program, whichever there are: they are taken from it, not from a list."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import names
from cli.exit_codes import EXIT_CODES
from cli.main import app
from ratchet.core.errors import NotFound, PolicyError, RatchetError
from tests.conftest import PROJECT_DIR
from tests.unit.cli.commands import COMMANDS, KNOWN, NEEDED, START_SOMETHING, UNKNOWN, kind_of, words_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("world")]

CONFIGS = PROJECT_DIR / "configs"
NAMED = [
    pytest.param(path, parameter.name, id=f"{' '.join(path)}-{parameter.name}")
    for path, command in COMMANDS.items()
    for parameter in command.params
    if kind_of(path, parameter) is not None
]


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_an_unknown_name_is_one_line_with_the_known_ones(path: tuple[str, ...], name: str, file: Path) -> None:
    kind = kind_of(path, next(each for each in COMMANDS[path].params if each.name == name))
    result = CliRunner().invoke(
        app, words_of(path, file, **(NEEDED.get(path, {}) | {name: UNKNOWN.get(kind or "", "nope")}))
    )
    assert isinstance(result.exception, NotFound | PolicyError), (result.output, result.exception)
    text = str(result.exception)
    assert "\n" not in text and (kind in {"task of run", "model"} or KNOWN[kind or ""] in text), text
    assert result.stdout == ""


def test_the_program_itself_prints_one_line_and_exits_with_the_code() -> None:
    env = {"PATH": os.environ["PATH"], "RATCHET_CONFIGS_DIR": str(CONFIGS)}
    words = [sys.executable, "-m", "cli", "models", "history", "nope"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stdout) == (PolicyError.exit_code, "")
    assert done.stderr.startswith("error: There is no task 'nope'") and "known: digits" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_json_and_then_prints_nothing_else(path: tuple[str, ...], file: Path) -> None:
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert "--json" in options
    if path[0] in START_SOMETHING:
        return
    yes = [option for option in ("--yes", "--check", "--dry-run") if option in options]
    result = CliRunner().invoke(app, [*words_of(path, file), *yes, "--json"])
    if isinstance(result.exception, RatchetError):
        assert result.stdout == "", "an error is not data"
        return
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in EXIT_CODES
    assert result.stdout == "" if result.exit_code == 2 else json.loads(result.stdout) is not ..., result.stdout


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_or_a_sentence(path: tuple[str, ...]) -> None:
    assert COMMANDS[path].help, "ratchet --help shows it"


# --- completion


def test_tasks_are_completed_from_the_files() -> None:
    assert "digits" in names.complete_task("dig") and names.complete_task("x") == []


@pytest.mark.parametrize(
    "complete", [names.complete_run, names.complete_model, names.complete_schedule, names.complete_pipeline]
)
def test_completion_is_silent_and_quick_when_the_stack_is_down_or_hangs(
    complete: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    began_s = time.monotonic()
    assert complete("") == [], "no endpoint is set"
    monkeypatch.setattr(names, "fetch_json", lambda url, token="": time.sleep(5))
    assert complete("") == [], "it hangs"
    assert time.monotonic() - began_s < 4 and capfd.readouterr() == ("", "")


def test_completion_proposes_what_the_servers_have(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "/runs": {
            "runs": [{"display_name": "retrain-b", "run_id": "9a"}, {"display_name": "retrain-b", "run_id": "9b"}]
        },
        "/recurringruns": {"recurringRuns": [{"display_name": "night"}]},
        "/pipelines": {"pipelines": [{"display_name": "retrain"}]},
        "/registered-models": {"registered_models": [{"name": "digits", "aliases": [{"alias": "champion"}]}]},
        "/model-versions": {"model_versions": [{"name": "digits", "version": "3"}]},
    }
    monkeypatch.setattr(
        names, "fetch_json", lambda url, token="": next(answers[route] for route in answers if f"{route}" in url)
    )
    assert names.complete_run("") == ["retrain-b", "9a", "9b"] and names.complete_run("9") == ["9a", "9b"]
    assert names.complete_schedule("n") == ["night"] and names.complete_pipeline("r") == ["retrain"]
    assert names.complete_model("digits") == ["digits/3", "digits@champion"]


def test_every_name_is_completed() -> None:
    kinds = {"task", "run", "schedule", "pipeline", "model"}
    for path, command in COMMANDS.items():
        for parameter in command.params:
            if kind_of(path, parameter) in kinds:
                assert parameter._custom_shell_complete is not None, (path, parameter.name)


def test_the_shell_gets_its_answer_without_heavy_libraries() -> None:
    env = {"PATH": os.environ["PATH"], "RATCHET_CONFIGS_DIR": str(CONFIGS), "_RATCHET_COMPLETE": "complete_bash",
           "COMP_WORDS": "ratchet run retrain --task d", "COMP_CWORD": "4"}  # fmt: skip
    program = "import sys; sys.argv = ['ratchet']; from cli.main import app\n"
    program += "try: app(prog_name='ratchet')\nfinally: print('torch' in sys.modules, 'kfp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env)
    assert done.stdout.split() == ["digits", "False", "False"], done.stderr


def test_verifying_a_model_imports_no_library_of_tables_or_training() -> None:
    """They cost more than the check itself, which people run before a deployment."""
    program = "import sys, cli.main, ratchet.wiring, ratchet.actions.models.verifying, ratchet.adapters.dvc\n"
    program += "print([name for name in ('numpy', 'pyarrow', 'torch', 'mlflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
