"""Tries the code of tasks in a process of its own, within a deadline."""

import importlib.util
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from ratchet.core.models.task_checks import CheckResult, TaskReport, reports_of
from ratchet.processes import die_with_parent
from ratchet.settings import child_env
from ratchet.tasks.spec import TaskSpec

TIMEOUT_S = 60.0
"""For one task, torch's import (2 to 10 s) included; each further one has half as much."""


class ProcessTaskChecks:
    """A process that ends or hangs in one task is started again for those after it."""

    def check(self, specs: Sequence[TaskSpec], *, timeout_s: float = TIMEOUT_S) -> Sequence[TaskReport]:
        """One report a task, in this order."""
        if importlib.util.find_spec("torch") is None:
            return [_not_here(spec, "torch is not installed here") for spec in specs]
        found: list[TaskReport] = []
        while len(found) < len(specs):
            waiting = specs[len(found) :]
            reports = _check_once(waiting, timeout_s=timeout_s * (1 + (len(waiting) - 1) / 2))
            reached = [report for report in reports if not report.not_checked]
            found += reached or reports
        return found


def _check_once(specs: Sequence[TaskSpec], *, timeout_s: float) -> Sequence[TaskReport]:
    with tempfile.TemporaryDirectory() as folder:
        specs_path, results_path, log_path = (Path(folder) / name for name in ("specs.json", "results", "log"))
        specs_path.write_bytes(TypeAdapter(list[TaskSpec]).dump_json(list(specs)))
        results_path.touch()
        ending = _run(specs_path, results_path, log_path, timeout_s=timeout_s)
        results = [CheckResult.model_validate_json(line) for line in results_path.read_text().splitlines()]
    return reports_of([(spec.name, spec.implementation) for spec in specs], results, ending=ending)


def _run(specs_path: Path, results_path: Path, log_path: Path, *, timeout_s: float) -> str:
    """How the process ended; "" when it came to the end of its work."""
    command = [sys.executable, "-m", "ratchet.training.task_check", str(specs_path), str(results_path)]
    with log_path.open("wb") as log_file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env=child_env({"OMP_NUM_THREADS": "1"}),
            preexec_fn=die_with_parent,
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"it did not end in {timeout_s:g} s"
    if code == 0:
        return ""
    lines = [line for line in log_path.read_text(errors="replace").splitlines() if line.strip()]
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"the process ended: {how}" + (f"; its last line is: {lines[-1].strip()[:300]}" if lines else "")


def _not_here(spec: TaskSpec, why: str) -> TaskReport:
    return TaskReport(task=spec.name, implementation=spec.implementation, not_checked=why)
