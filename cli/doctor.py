"""`ratchet doctor`: what is wrong with the machine, the settings, the servers and the champions."""

from typing import TYPE_CHECKING

import typer
from rich.text import Text

from cli.output import JsonFlag, print_json, print_rows, stdout
from cli.state_folder import own_layout
from ratchet.core.errors import SettingsError
from ratchet.packaged import packaged_lock
from ratchet.settings import Settings, load_settings, state_dir_from_env, variable_of, variables_set_in_env

if TYPE_CHECKING:
    from embedded.doctor import Finding


def doctor(as_json: JsonFlag = False) -> None:
    """Check the machine, the settings, the servers and the champions, and show how to mend problems.

    Exit code 1 when something is wrong. Example: `ratchet doctor`
    """
    from cli.champions import champion_findings
    from cli.registry_findings import registry_findings
    from embedded.doctor import Finding, examine_machine, examine_settings
    from embedded.reports import read_report

    is_running = read_report(own_layout()) is not None
    findings = examine_machine(state_dir_from_env(), lock_file=packaged_lock(), is_running=is_running)
    settings: Settings | None = None
    try:
        settings = load_settings()
        findings.append(Finding(name="settings", is_fine=True, detail="all names are known"))
        findings += examine_settings(settings, overridden=variables_set_in_env())
        findings += _examine_cluster()
        findings += _examine_tasks()
        findings += champion_findings(findings)
        findings += registry_findings(findings)
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
