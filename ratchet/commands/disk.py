"""The disk in `ratchet status`: what each part of the stack takes, and what lies in its object store by kind."""

from typing import TYPE_CHECKING, Any

from ratchet.commands.output import print_rows, stderr, stdout

if TYPE_CHECKING:
    from embedded.layout import Layout

_SHOWN_BYTES_MIN = 1 << 20
"""Smaller parts are in the JSON only."""


def disk_data(layout: "Layout", *, guard_endpoint: str = "") -> dict[str, Any]:
    """`{"path", "total_bytes", "free_bytes", "warning", "uses", "object_store"}`; the last one is the guard's newest
    measurement `{"at", "sizes"}`, an hour old at most, or None."""
    from embedded.disk import measure_disk
    from ratchet.adapters.guard_service import GuardService

    report = measure_disk(layout)
    measured = GuardService(guard_endpoint).fetch_space() if guard_endpoint else None
    return {**report.model_dump(mode="json"), "object_store": measured}


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
    if disk["warning"]:
        stderr.print(f"warning: {disk['warning']}", style="bold yellow", markup=False)
