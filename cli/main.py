"""The `ratchet` command: every group of commands in one program, and one place where errors become exit codes."""

import importlib
import sys
from collections.abc import Callable

import typer
from typer.core import TyperGroup

from cli.exit_codes import INTERRUPTED, epilog
from cli.extras import is_own_module, missing_module_text
from cli.os_errors import is_of_the_machine, words_of
from cli.output import print_anything, print_error
from cli.streams import streams_that_fail_in_words
from ratchet import __version__
from ratchet.core.errors import RatchetError, SettingsError
from ratchet.settings import settings_from_env

app = typer.Typer(
    name="ratchet",
    epilog=epilog(),
    no_args_is_help=True,
    cls=TyperGroup,
    pretty_exceptions_enable=False,
)

_MODULES = (
    "stack",
    "tasks",
    "labels",
    "labelers",
    "datasets",
    "runs",
    "pipelines",
    "sensor",
    "models",
    "predict",
    "feedback",
    "drift",
    "rollout",
    "judge",
    "guard",
    "access",
    "space",
    "bench",
    "demo",
)
"""Each is `cli.<name>` with a function `add_to(app)`."""


@app.callback(invoke_without_command=True)
def root(context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Continuous training for labelled data: models only move forward."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand != "doctor":
        settings_from_env()  # refuses a misspelt variable; doctor tells of it with all else that is wrong


for _name in _MODULES:
    importlib.import_module(f"cli.{_name}").add_to(app)


def main() -> None:
    """Entry point: an expected error is one line on stderr and its exit code; Ctrl-C is 130, a gone reader 141."""
    print_anything()
    with streams_that_fail_in_words() as printed:
        # What a command says of its own failure comes before what could not be printed.
        code = _exit_code_of(app) or _exit_code_of(printed.finish)
    sys.exit(code)


def _exit_code_of(deed: Callable[[], object]) -> int:
    try:
        deed()
    except SystemExit as end:
        # As Python itself ends: no code is 0, a text is 1.
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except RatchetError as error:
        print_error(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        if is_own_module(error.name):
            raise
        print_error(missing_module_text(error))
        return SettingsError.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if not is_of_the_machine(error):
            raise
        print_error(words_of(error))
        return 1
    return 0
