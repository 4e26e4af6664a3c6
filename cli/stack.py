"""`ratchet up | down | status`: the embedded stack."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from cli import doctor, stack_logs
from cli.exit_codes import NOT_SERVING
from cli.extras import check_installed
from cli.output import JsonFlag, print_json, print_rows, stderr, stdout
from cli.stack_progress import show_progress
from cli.state_folder import own_layout
from ratchet.settings import load_settings, settings_from_env

if TYPE_CHECKING:
    from embedded.status import StackStatus
    from ratchet.core.rollout.champions import ChampionView

# The stack's modules are imported by the commands that need them: `ratchet labels push` pays for none of them.

_NOT_RUNNING = "not running; start it with `ratchet up`"
_STATE_STYLES = {"ready": "green", "failed": "bold red", "unresponsive": "bold red"}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    for command in (up, down, status, stack_logs.logs, doctor.doctor):
        app.command(rich_help_panel="Stack")(command)


def up(as_json: JsonFlag = False) -> None:
    """Start the embedded stack and wait until it is ready and its champions serve.

    Exit code 10 when a champion does not serve; the stack stays up. Example: `ratchet up`
    """
    from cli.champions import await_champions, report_failing
    from embedded.stack import start_stack
    from embedded.state_folder import layout_of
    from embedded.status import look_at_stack

    check_installed("embedded", who="ratchet up")
    base = settings_from_env()
    with show_progress(stderr) as on_change:
        started = start_stack(base, project_dir=Path.cwd(), on_change=on_change)
    load_settings.cache_clear()
    _publish_pipelines()
    champions = await_champions()
    current = look_at_stack(layout_of(base))
    if as_json:
        print_json(_as_data(current, champions))
    else:
        if started.was_running:
            stderr.print("The stack is already up.")
        _print_endpoints(started.report.endpoints)
    if exit_code := report_failing(champions):
        raise typer.Exit(exit_code)


def _publish_pipelines() -> None:
    """Give the fresh control plane what the sensor submits; a second time changes nothing."""
    from cli.pipelines import follow_schedules
    from pipelines.publish import publish_all
    from ratchet import wiring

    for published in publish_all(wiring.pipeline_catalog()):
        if published.is_new:
            stderr.print(f"pipeline {published.pipeline}: published", markup=False)
    follow_schedules()


def down(as_json: JsonFlag = False) -> None:
    """Stop the embedded stack; its data stays. Example: `ratchet down`"""
    from embedded.stack import stop_stack

    if stderr.is_terminal:
        with stderr.status("stopping the servers"):
            stopped = stop_stack(own_layout())
    else:
        stopped = stop_stack(own_layout())
    if as_json:
        print_json(stopped.model_dump())
        return
    leftovers = f" {stopped.num_leftovers} leftover processes ended." if stopped.num_leftovers else ""
    what = f"{stopped.num_servers} servers stopped." if stopped.num_servers else "Not running."
    stderr.print(f"{what}{leftovers} No process is left.")


def status(as_json: JsonFlag = False) -> None:
    """Show every server, every task's champion, and the disk usage.

    Exit code 1 when a server is not ready, 10 when a champion does not serve.

    Example: `ratchet status --json`
    """
    from cli.champions import see_champions
    from cli.disk import disk_data, guard_of, print_disk
    from embedded.status import look_at_stack

    current = look_at_stack(own_layout())
    champions = see_champions(current) if current else ()
    ports = {service.name: service.port for service in current.services} if current else {}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    guard = guard_of(urls["guard"]) if "guard" in urls else None
    disk = disk_data(own_layout(), guard=guard, control_plane_endpoint=urls.get("control_plane", ""))
    if as_json:
        print_json({**_as_data(current, champions), "disk": disk})
    elif current is None:
        stderr.print(_NOT_RUNNING, markup=False)
    else:
        print_status(current, champions)
        print_disk(disk)
    if current is None or not current.is_ready:
        raise typer.Exit(1)
    if not all(view.is_fine for view in champions):
        raise typer.Exit(NOT_SERVING)


def _as_data(current: "StackStatus | None", champions: "Sequence[ChampionView]" = ()) -> dict[str, Any]:
    """`is_ready` is about the servers, `is_serving` about the champions."""
    views = [{**view.model_dump(), "is_fine": view.is_fine} for view in champions]
    seen = {"is_serving": bool(current) and all(view.is_fine for view in champions), "champions": views}
    if current is None:
        return {"is_ready": False, "endpoints": {}, "services": [], "rss_mib": 0, "detail": _NOT_RUNNING, **seen}
    return {"is_ready": current.is_ready, **current.model_dump(mode="json"), **seen}


def print_status(current: "StackStatus", champions: "Sequence[ChampionView]") -> None:
    from cli.champions import print_champions

    rows = [
        {
            "service": service.name,
            "state": Text(service.state, style=_STATE_STYLES.get(service.state, "yellow")),
            "pid": service.pid,
            "port": service.port,
            "restarts": service.restarts,
            "resident MiB": service.rss_mib,
            "detail": service.detail,
        }
        for service in current.services
    ]
    columns = ["service", "state", "pid", "port", "restarts", "resident MiB"]
    if any(service.detail for service in current.services):
        columns.append("detail")
    print_rows(rows, columns=columns, as_json=False)
    if current.supervisor_problem:
        stdout.print(f"\n{current.supervisor_problem}", style="bold red", markup=False)
    stdout.print(f"\n{current.rss_mib} MiB resident in all, the supervisor (pid {current.supervisor_pid}) included")
    stdout.print(f"logs in {current.services[0].log.parent}; `ratchet logs SERVICE` prints one\n", markup=False)
    _print_endpoints(current.endpoints)
    stdout.print()
    print_champions(champions)


def _print_endpoints(endpoints: Mapping[str, str]) -> None:
    for name, url in endpoints.items():
        if url:
            stdout.print(f"{name:<11} {url}", markup=False)
