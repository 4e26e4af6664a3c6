"""A command that needs an optional part of Ratchet says which, and how to install it."""

from importlib import metadata

import pytest
from typer.testing import CliRunner

from cli.extras import check_installed, is_own_module
from cli.main import app
from ratchet.core.errors import SettingsError

REQUIRES = [
    "rich",
    'torch==2; extra == "train"',
    'ratchet[train]; extra == "serve"',
    "gone-server>1; extra == 'serve'",
    "other; extra == 'dev'",
]


@pytest.fixture
def without_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> object:
        if name == "gone-server":
            raise metadata.PackageNotFoundError(name)
        return object()

    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    monkeypatch.setattr(metadata, "distribution", distribution)


def test_what_is_missing_of_an_extra_is_named_with_the_command_that_installs_it(without_server: None) -> None:
    check_installed("train", who="ratchet x")
    with pytest.raises(
        SettingsError, match=r"`ratchet x` needs the extra `serve`.*gone-server.*pip install 'ratchet\[serve\]'"
    ):
        check_installed("serve", who="ratchet x")


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_stack_is_not_half_started_without_its_extra(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(extra: str, *, who: str) -> None:
        raise SettingsError(f"{who} needs {extra}")

    for module in ("cli.stack", "cli.demo"):
        monkeypatch.setattr(f"{module}.check_installed", refuse)
    done = CliRunner().invoke(app, [command])
    assert isinstance(done.exception, SettingsError) and str(done.exception) == f"ratchet {command} needs embedded"


def test_a_missing_module_of_ratchet_itself_is_a_fault_and_no_extra() -> None:
    assert is_own_module("embedded.gone") and is_own_module(None)
    assert not is_own_module("torch") and not is_own_module("embedded_of_others")
