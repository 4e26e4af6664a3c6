"""`ratchet up | down | status | logs | doctor`: the embedded stack."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cli.exit_codes import NOT_SERVING
from cli.extras import check_installed
from cli.output import JsonFlag, print_json, print_rows, stderr, stdout
from cli.stack_progress import show_progress
from ratchet.core.errors import DataRejected, NotFound, SettingsError
from ratchet.packaged import packaged_lock
from ratchet.settings import (
    Settings,
    load_settings,
    settings_from_env,
    state_dir_from_env,
    variable_of,
    variables_set_in_env,
)

if TYPE_CHECKING:
    from embedded.doctor import Finding
    from embedded.layout import Layout
    from embedded.status import StackStatus
    from ratchet.core.rollout.champions import ChampionView

# The stack's modules are imported by the commands that need them: `ratchet labels push` pays for none of them.

_NOT_RUNNING = "not running; start it with `ratchet up`"
_FOLLOW_EVERY_S = 0.3
_STATE_STYLES = {"ready": "green", "failed": "bold red", "unresponsive": "bold red"}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    for command in (up, down, status, logs, doctor):
        app.command(rich_help_panel="Stack")(command)


def up(as_json: JsonFlag = False) -> None:
    """Start the embedded stack and wait until it is ready and its champions serve.

    Exit code 10 when a champion does not serve; the stack stays up. Example: `ratchet up`
    """
    from cli.champions import await_champions, report_failing
    from embedded.stack import layout_of, start_stack
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
            stopped = stop_stack(_layout())
    else:
        stopped = stop_stack(_layout())
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

    current = look_at_stack(_layout())
    champions = see_champions(current) if current else ()
    ports = {service.name: service.port for service in current.services} if current else {}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    guard = guard_of(urls["guard"]) if "guard" in urls else None
    disk = disk_data(_layout(), guard=guard, control_plane_endpoint=urls.get("control_plane", ""))
    if as_json:
        print_json({**_as_data(current, champions), "disk": disk})
    elif current is None:
        stderr.print(_NOT_RUNNING, markup=False)
    else:
        _print_status(current, champions)
        print_disk(disk)
    if current is None or not current.is_ready:
        raise typer.Exit(1)
    if not all(view.is_fine for view in champions):
        raise typer.Exit(NOT_SERVING)


def logs(
    service: Annotated[str, typer.Argument(help="One server; default: all.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of each log to begin with.")] = 20,
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
        with path.open(errors="replace") as file:
            for line in deque(file, maxlen=lines):
                _print_log_line(name, line, width=width, is_only=bool(service))
            offsets[name] = file.tell()
    while follow:
        for name, line in _list_new_lines(paths, offsets):
            _print_log_line(name, line, width=width, is_only=bool(service))
        time.sleep(_FOLLOW_EVERY_S)


def _last_rows(name: str, path: Path, num_lines: int) -> list[dict[str, str]]:
    with path.open(errors="replace") as file:
        return [{"service": name, "line": line.rstrip("\n")} for line in deque(file, maxlen=num_lines)]


def doctor(as_json: JsonFlag = False) -> None:
    """Check the machine, the settings, the servers and the champions, and show how to mend problems.

    Exit code 1 when something is wrong. Example: `ratchet doctor`
    """
    from cli.champions import champion_findings
    from embedded.doctor import Finding, examine_machine, examine_settings
    from embedded.stack import read_report

    is_running = read_report(_layout()) is not None
    findings = examine_machine(state_dir_from_env(), lock_file=packaged_lock(), is_running=is_running)
    settings: Settings | None = None
    try:
        settings = load_settings()
        findings.append(Finding(name="settings", is_fine=True, detail="all names are known"))
        findings += examine_settings(settings, overridden=variables_set_in_env())
        findings += _examine_cluster()
        findings += _examine_tasks()
        findings += champion_findings(findings)
    except SettingsError as error:
        findings.append(Finding(name="settings", is_fine=False, detail=str(error), fix="correct or unset it"))
    rows = _settings_rows(settings or Settings())
    if as_json:
        print_json({"checks": [finding.model_dump() for finding in findings], "settings": rows})
    else:
        _print_findings(findings)
        print_rows(rows, columns=("setting", "value", "from"), as_json=False)
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(1)


def _examine_cluster() -> "list[Finding]":
    """The API server, and the versions of what serving needs there."""
    from embedded.doctor import Finding
    from ratchet import wiring

    return [Finding(**each._asdict()) for each in wiring.examine_cluster()]


def _examine_tasks() -> "list[Finding]":
    """Each task's file, and one batch of its code; some seconds, bounded."""
    from embedded.doctor import Finding
    from ratchet import wiring
    from ratchet.core.errors import PolicyError

    specs, findings = [], []
    for task in wiring.task_names():
        try:
            specs.append(wiring.task_spec(task))
        except PolicyError as error:
            findings.append(
                Finding(name=f"task {task}", is_fine=False, detail=str(error), fix="correct the task's file")
            )
    for report in wiring.task_checks().check(specs):
        fix = "" if report.is_fine else f"correct it; ratchet tasks check {report.task}"
        detail = report.problem or (
            f"not checked here: {report.not_checked}" if report.not_checked else "its code trains"
        )
        findings.append(Finding(name=f"task {report.task}", is_fine=report.is_fine, detail=detail, fix=fix))
    return findings


def _layout() -> "Layout":
    from embedded.layout import Layout

    return Layout(state_dir=state_dir_from_env().absolute())


def _as_data(current: "StackStatus | None", champions: "Sequence[ChampionView]" = ()) -> dict[str, Any]:
    """`is_ready` is about the servers, `is_serving` about the champions."""
    views = [{**view.model_dump(), "is_fine": view.is_fine} for view in champions]
    seen = {"is_serving": bool(current) and all(view.is_fine for view in champions), "champions": views}
    if current is None:
        return {"is_ready": False, "endpoints": {}, "services": [], "rss_mib": 0, "detail": _NOT_RUNNING, **seen}
    return {"is_ready": current.is_ready, **current.model_dump(mode="json"), **seen}


def _print_status(current: "StackStatus", champions: "Sequence[ChampionView]") -> None:
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


def _log_paths(service: str) -> dict[str, Path]:
    folder = _layout().log_of("any").parent
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
        with path.open("rb") as file:
            file.seek(offsets[name])
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        offsets[name] += len(whole)
        yield from ((name, line) for line in whole.decode(errors="replace").splitlines())


def _print_log_line(name: str, line: str, *, width: int, is_only: bool) -> None:
    prefix = "" if is_only else f"{name:<{width}} | "
    typer.echo(prefix + line.rstrip("\n"))


def _print_findings(findings: "list[Finding]") -> None:
    rows = [
        {
            "": Text("✓", style="green") if finding.is_fine else Text("✗", style="bold red"),
            "check": finding.name,
            "found": finding.detail,
            "fix": finding.fix,
        }
        for finding in findings
    ]
    columns = ("", "check", "found", "fix") if any(row["fix"] for row in rows) else ("", "check", "found")
    print_rows(rows, columns=columns, as_json=False)
    stdout.print()


def _settings_rows(settings: Settings) -> list[dict[str, str]]:
    """Every setting by its variable. A secret shows only whether it is there."""
    overridden = variables_set_in_env()
    defaults = Settings()
    rows = []
    for name, value in settings:
        is_default = value == getattr(defaults, name)
        origin = "environment" if variable_of(name) in overridden else "default" if is_default else "profile"
        rows.append({"setting": variable_of(name), "value": str(value) or "(not set)", "from": origin})
    return rows
