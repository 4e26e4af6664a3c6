"""The disk in `ratchet status`: what each part of the stack takes, and what lies in its object store by kind."""

from typing import TYPE_CHECKING, Any

from cli.output import print_rows, stderr, stdout
from ratchet.adapters.http import ONCE, HttpClient, Peer, Request
from ratchet.core.errors import RatchetError

if TYPE_CHECKING:
    from embedded.layout import Layout
    from ratchet.adapters.guard_service import GuardService

_DEADLINE_S = 1.0
"""`ratchet status` shows a stack of which a server hangs: it waits for none of them."""
_CONTROL_PLANE = Peer(name="The control plane", next_step="`ratchet up` starts it.", endpoint="its endpoint")
_SHOWN_BYTES_MIN = 1 << 20
"""Smaller parts are in the JSON only."""


def disk_data(
    layout: "Layout", *, guard: "GuardService | None" = None, control_plane_endpoint: str = ""
) -> dict[str, Any]:
    """`{"path", "total_bytes", "free_bytes", "warning", "uses", "object_store", "engine"}`.

    object_store: the guard's newest measurement `{"at", "sizes"}`, an hour old at most, or None. engine: why no task of
    a pipeline runs, "" while they do.
    """
    from embedded.disk import measure_disk

    report = measure_disk(layout)
    measured = guard.fetch_space() if guard else None
    engine = _engine_problem(control_plane_endpoint) if control_plane_endpoint else ""
    return {**report.model_dump(mode="json"), "object_store": measured, "engine": engine}


def guard_of(endpoint: str) -> "GuardService":
    """The guard of the stack that runs there, whatever endpoint the environment names."""
    from ratchet.adapters.guard_service import GuardService
    from ratchet.settings import load_settings

    return GuardService(endpoint, token=load_settings().guard_token.get_secret_value())


def _engine_problem(endpoint: str) -> str:
    """What it says, of any status; "" when it says nothing in time."""
    http = HttpClient(endpoint, peer=_CONTROL_PLANE, deadline_s=_DEADLINE_S, retry=ONCE)
    try:
        found = http.json_in(http.send(Request("GET", "/healthz")))
    except RatchetError:
        return ""
    return str(found.get("engine", "")) if isinstance(found, dict) else ""


def print_disk(disk: dict[str, Any]) -> None:
    """A table, the free room, and a warning when it is little."""
    from ratchet.actions.space import size_text

    rows = [(use["part"], use["size_bytes"], use["is_whole"], "") for use in disk["uses"]]
    if measured := disk["object_store"]:
        at = f"as of {measured['at'][11:16]} UTC"
        rows += [(f"in s3: {one['kind']}", one["size_bytes"], one["is_whole"], at) for one in measured["sizes"]]
    shown = [
        {"disk": part, "size": size_text(size, is_whole=is_whole), "": at}
        for part, size, is_whole, at in rows
        if size >= _SHOWN_BYTES_MIN
    ]
    if shown:
        print_rows(shown, columns=("disk", "size", ""), as_json=False)
    stdout.print(f"{size_text(disk['free_bytes'])} of {size_text(disk['total_bytes'])} free in {disk['path']}\n")
    problem = f"the pipeline engine pauses: {disk['engine']}" if disk["engine"] else ""
    for text in filter(None, (disk["warning"], problem)):
        stderr.print(f"warning: {text}", style="bold yellow", markup=False)
