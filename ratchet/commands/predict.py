"""`ratchet predict`: ask the model that serves, through the gateway as users do."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any

import typer

from ratchet.commands.names import TaskOption
from ratchet.commands.output import JsonFlag, print_rows
from ratchet.core.errors import DataRejected, NotFound, Unavailable

_ROWS_A_REQUEST = 64
_TIMEOUT_S = 20.0


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    task: TaskOption,
    file: Annotated[
        typer.FileText, typer.Argument(help="JSON lines with `features`, as label files have; - is stdin.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Ask the served model about examples: one JSON line each, with `features` and perhaps an `id`.

    Example: echo '{"features": [0, 0, 5]}' | ratchet predict - --task digits
    """
    from ratchet import wiring

    url = f"{_gateway_of(wiring.settings())}/v1/models/{task}:predict"
    name = "stdin" if file.name in {"-", "<stdin>"} else file.name
    rows = [row for examples in _batches(_parse(file, where=name)) for row in _ask(url, examples)]
    columns = ("id", "label", "probability", "revision")
    print_rows(rows, columns=columns, as_json=as_json, empty=f"{name} holds no example.")


def _gateway_of(settings: Any) -> str:
    settings.require("gateway_endpoint")
    return str(settings.gateway_endpoint)


def _parse(lines: Iterable[str], *, where: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            example = json.loads(line)
            features = example["features"]
        except (ValueError, TypeError, KeyError):
            raise DataRejected(
                f'{where}, line {number}: expected a JSON object with "features", as in {{"features": [0, 3.5]}}.'
            ) from None
        yield {"id": example.get("id", str(number)), "features": features}


def _batches(examples: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(examples, _ROWS_A_REQUEST)):
        yield batch


def _ask(url: str, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    import httpx

    instances = [example["features"] for example in examples]
    try:
        response = httpx.post(url, json={"instances": instances}, timeout=_TIMEOUT_S)
    except httpx.TransportError as error:
        raise Unavailable(f"{url}: {error}. `ratchet status` shows what runs, `ratchet up` starts it.") from None
    if response.status_code == httpx.codes.NOT_FOUND:
        raise NotFound(f"{url}: no model of this task serves yet. `ratchet run retrain` makes one.")
    if response.is_client_error:
        raise DataRejected(f"{url}: {response.text.strip()}")
    if response.is_error:
        raise Unavailable(f"{url}: {response.status_code}: {response.text.strip()}")
    revision = response.headers.get("x-ratchet-revision", "")
    return [
        {"id": example["id"], **prediction, "revision": revision}
        for example, prediction in zip(examples, response.json()["predictions"], strict=True)
    ]
