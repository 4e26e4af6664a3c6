"""`ratchet logs`: what the servers of the stack wrote."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from cli.limits import LINES_MAX
from cli.output import JsonFlag, print_json
from cli.state_folder import own_layout
from ratchet.core.errors import DataRejected, NotFound

_FOLLOW_EVERY_S = 0.3


def logs(
    service: Annotated[str, typer.Argument(help="One server; default: all.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=LINES_MAX, help="Lines of each log to begin with.")
    ] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Print the logs of the servers. Example: `ratchet logs control_plane --follow`"""
    paths = _log_paths(service)
    if as_json:
        if follow:
            raise DataRejected("--json prints one document, and --follow has no end. Use one of them.")
        print_json([row for name, path in paths.items() for row in _last_rows(name, path, lines)])
        return
    width = max((len(name) for name in paths), default=0)
    offsets = {}
    for name, path in paths.items():
        begun, offsets[name] = _last_lines(path, lines, is_followed=follow)
        for line in begun:
            _print_log_line(name, line, width=width, is_only=bool(service))
    while follow:
        for name, line in _list_new_lines(paths, offsets):
            _print_log_line(name, line, width=width, is_only=bool(service))
        time.sleep(_FOLLOW_EVERY_S)


def _last_rows(name: str, path: Path, num_lines: int) -> list[dict[str, str]]:
    lines, _ = _last_lines(path, num_lines, is_followed=False)
    return [{"service": name, "line": line.rstrip("\n")} for line in lines]


def _last_lines(path: Path, num_lines: int, *, is_followed: bool) -> tuple[list[str], int]:
    """The last lines of a log, and the byte to follow it from: a line that is half written waits for its rest."""
    with path.open("rb") as file:
        lines = deque(file, maxlen=num_lines + 1)
        offset = file.tell()
    if is_followed and lines and not lines[-1].endswith(b"\n"):
        offset -= len(lines.pop())
    shown = [line.decode(errors="replace") for line in lines]
    return shown[max(len(shown) - num_lines, 0) :], offset


def _log_paths(service: str) -> dict[str, Path]:
    folder = own_layout().log_of("any").parent
    paths = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if not paths:
        raise NotFound(f"{folder} has no logs. `ratchet up` creates them.")
    if service and service not in paths:
        raise NotFound(f"{folder} has no log of {service!r}; it has: {', '.join(paths)}.")
    return {service: paths[service]} if service else paths


def _list_new_lines(paths: Mapping[str, Path], offsets: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Whole lines that were written since the last look; a log that became shorter was begun anew."""
    for name, path in paths.items():
        if not path.exists():
            continue
        if path.stat().st_size < offsets[name]:
            offsets[name] = 0
        # In bytes: an offset into text could lie within a character.
        with path.open("rb") as file:
            file.seek(offsets[name])
            text = file.read()
        # The last line may be half written.
        whole = text[: text.rfind(b"\n") + 1]
        offsets[name] += len(whole)
        yield from ((name, line) for line in whole.decode(errors="replace").splitlines())


def _print_log_line(name: str, line: str, *, width: int, is_only: bool) -> None:
    prefix = "" if is_only else f"{name:<{width}} | "
    typer.echo(prefix + line.rstrip("\n"))
