"""No number that a person gives on a command line is without a limit, and none of them is `nan`."""

from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.unit.cli.commands import COMMANDS

ANY_WHOLE_NUMBER = {"seed"}
"""Only its text is used."""


def kinds_of(parameter: Any) -> set[Any]:
    annotation = parameter.type_descriptor.annotation
    return {annotation, *getattr(annotation, "__args__", ())}


NUMBERS = [
    pytest.param(path, parameter, id=f"{'-'.join(path)}-{parameter.name}")
    for path, command in COMMANDS.items()
    for parameter in command.params
    if {int, float} & kinds_of(parameter) and parameter.name not in ANY_WHOLE_NUMBER
]


@pytest.mark.parametrize(("path", "parameter"), NUMBERS)
def test_each_number_has_a_limit(path: tuple[str, ...], parameter: Any) -> None:
    assert parameter.min is not None and parameter.max is not None


@pytest.mark.parametrize("value", ["1" + "0" * 20, "1" + "0" * 400, "nan", "inf", "-inf", "1e400", "9" * 5_000])
@pytest.mark.parametrize(("path", "parameter"), NUMBERS)
def test_a_hostile_number_is_refused_before_anything_happens(path: tuple[str, ...], parameter: Any, value: str) -> None:
    required = ["x" for each in COMMANDS[path].params if each.required and each.param_type_name == "argument"]
    result = CliRunner().invoke(app, [*path, *required, parameter.opts[0], value])
    assert result.exit_code == 2 and "Invalid value" in result.output, result.output
