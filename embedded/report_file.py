"""stack.json as the supervisor keeps it: rewritten at every change of a server's state, for all who ask how it goes."""

import os
from contextlib import suppress
from typing import Any

from embedded.control_plane.host.processes import process_stat
from embedded.layout import write_private
from embedded.services import ProcessName, ServiceReport, StackPlan, StackReport, SupervisorReport


class ReportFile:
    """The report of one supervisor. Restarts go on counting from one of the same stack that was killed."""

    def __init__(self, plan: StackPlan) -> None:
        self._plan = plan
        before = _report_before(plan)
        restarts = {service.name: service.restarts for service in before.services} if before else {}
        self._restarts = before.supervisor.restarts + 1 if before else 0
        self._services = {
            s.name: ServiceReport(name=s.name, port=s.port, log=s.log, ready=s.ready, restarts=restarts.get(s.name, 0))
            for s in plan.services
        }
        self._keeper: ProcessName | None = None

    def service(self, name: str) -> ServiceReport:
        return self._services[name]

    def change(self, name: str, **changes: Any) -> None:
        """changes: fields of the server's ServiceReport."""
        self._services[name] = self._services[name].model_copy(update=changes)
        self.write()

    def note_keeper(self, keeper: ProcessName | None) -> None:
        if keeper != self._keeper:
            self._keeper = keeper
            self.write()

    def write(self) -> None:
        stat = process_stat(os.getpid())
        assert stat, "we are alive"
        report = StackReport(
            stack_id=self._plan.stack_id,
            endpoints=self._plan.endpoints,
            services=tuple(self._services.values()),
            supervisor=SupervisorReport(
                pid=stat.pid,
                started_at_ticks=stat.started_at_ticks,
                restarts=self._restarts,
                keeper=self._keeper,
            ),
        )
        write_private(self._plan.report, report.model_dump_json(indent=1))


def _report_before(plan: StackPlan) -> StackReport | None:
    """Of a supervisor of the same stack that was killed."""
    with suppress(OSError, ValueError):
        before = StackReport.model_validate_json(plan.report.read_text())
        return before if before.stack_id == plan.stack_id else None
    return None
