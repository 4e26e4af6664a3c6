"""`ratchet labels backend`: the champion's answers for the labelers of Label Studio."""

import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.labels_import import options_of
from cli.names import TaskOption
from cli.output import JsonFlag, print_json, stdout
from ratchet.core.errors import DataRejected

if TYPE_CHECKING:
    from ratchet.actions.labels.prefilling import Prefiller
    from ratchet.core.labels.formats.items import ImportOptions

_GATEWAY_S = 4.0
"""For one batch: a labeler waits for it with the task open."""


def add_to(labels: typer.Typer) -> None:
    """Add the command to the group `labels`."""
    labels.command("backend")(backend)


def backend(
    task: TaskOption,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 9090,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps the token and the record of what was shown. Default: labelling-TASK.")
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=TARGET, as in `ratchet labels import`.")
    ] = None,
    images: Annotated[str, typer.Option(help="s3://BUCKET/FOLDER/ with the pictures that tasks name.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Show what would be served, and serve nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Serve the champion's answers to Label Studio, as an ML backend on 127.0.0.1, until Ctrl-C.

    A tenth of the tasks, chosen by a hash of the example's id, is left without an answer, so that the pull of the
    answers on labelers can be measured. `shown.jsonl` in the folder records what each task showed: give it to
    `ratchet labels import --queue` together with the export, and `ratchet labelers list` compares the two kinds.

    In Label Studio: Settings, Model, Connect Model, with the URL and, as the password, the text of the file `token`.

    Example: ratchet labels backend --task mails --port 9090
    """
    place = (folder or Path(f"labelling-{task}")).absolute()
    told = {
        "task": task,
        "url": f"http://127.0.0.1:{port}",
        "token_file": str(place / "token"),
        "shown_file": str(place / "shown.jsonl"),
    }
    served = None if check else (_prefiller(task, place, columns or [], images), _token_in(place))
    if check:
        _options(task, columns or [], images)
    if as_json:
        print_json(told)
    else:
        verb = "would be served" if check else "is served"
        stdout.print(f"The champion of {task} {verb} to Label Studio at {told['url']}", markup=False, soft_wrap=True)
        stdout.print(f"token (the password): {told['token_file']}", markup=False, soft_wrap=True)
        stdout.print(f"what is shown: {told['shown_file']}", markup=False, soft_wrap=True)
    if served is not None:
        from ratchet import wiring
        from sensors.labelling.app import make_app
        from sensors.service import serve

        serve(make_app(served[0], token=served[1]), wiring.settings(), host="127.0.0.1", port=port)


def _options(task: str, columns: list[str], images: str) -> "ImportOptions":
    from ratchet import wiring
    from ratchet.actions.labels.importing import ToolFile

    nothing = ToolFile(b"", "", datetime.now(UTC))
    return options_of(nothing, wiring.task_spec(task).examples, labeler="", columns=columns, images=images)


def _prefiller(task: str, folder: Path, columns: list[str], images: str) -> "Prefiller":
    from ratchet import wiring
    from ratchet.actions.labels.prefilling import MarkFile, Prefiller
    from ratchet.adapters.gateway import gateway_client

    options = _options(task, columns, images)
    http = gateway_client(wiring.settings(), deadline_s=_GATEWAY_S)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataRejected(f"{folder}: {error.strerror}. Name another `--folder`.") from None
    marks = MarkFile(folder / "shown.jsonl")
    return Prefiller(http, options, marks, task=task, clock_s=time.monotonic)


def _token_in(folder: Path) -> str:
    """The same at each start, so that Label Studio need not be told again; only the owner can read it."""
    path = folder / "token"
    try:
        try:
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(made, "w") as file:
                file.write(secrets.token_urlsafe(32))
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataRejected(f"{path}: cannot be read ({error}). Name another `--folder`.") from None
    if not token:
        raise DataRejected(f"{path}: is empty. Delete it, and the next start makes a new token.")
    return token
