"""A supervisor, with or without a keeper, and small servers of its own."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from embedded.control_plane.host.processes import free_port, stop_group, tethered
from embedded.keeping import start_keeper
from embedded.leftovers import end_processes, list_stack_processes
from embedded.services import ReadyCheck, Service, StackPlan, StackReport
from ratchet.settings import child_env

SERVER = """
import http.server, pathlib, sys, time
time.sleep(float(sys.argv[2]))
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = pathlib.Path(sys.argv[3]).read_text() if len(sys.argv) > 3 and pathlib.Path(sys.argv[3]).exists() else ""
        self.send_response(503 if said else 200); self.end_headers(); self.wfile.write(said.encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


class Stack:
    """A supervisor and what it reports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack_id = f"test-{secrets.token_hex(8)}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def service(
        self, name: str, *, slow_s: float = 0.0, within_s: float = 10.0, needs: tuple[str, ...] = ()
    ) -> Service:
        port = free_port()
        return Service(
            name=name,
            command=(sys.executable, "-c", SERVER, str(port), str(slow_s)),
            cwd=self.folder,
            port=port,
            log=self.folder / "logs" / f"{name}.log",
            ready=ReadyCheck(port=port, path="/", within_s=within_s),
            depends_on=needs,
            stop_grace_s=2,
        )

    def keep(self, *services: Service, configuration: str = "") -> "subprocess.Popen[bytes]":
        """A keeper with its supervisor; their servers outlive them."""
        folder = self.folder
        plan = self.plan(*services).model_copy(
            update={"keeper_lock": folder / "keeper.lock", "configuration": configuration}
        )
        with (folder / "supervisor.log").open("ab") as log:
            return start_keeper(plan, supervisor_pid=None, log=log)

    def plan(self, *services: Service) -> StackPlan:
        folder = self.folder
        return StackPlan(
            stack_id=self.stack_id,
            report=folder / "stack.json",
            lock=folder / "lock",
            endpoints={},
            services=services,
        )

    def start(self, *services: Service) -> "subprocess.Popen[bytes]":
        with (self.folder / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                tethered([sys.executable, "-m", "embedded.supervisor"]),
                env=child_env({}),
                stdin=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert process.stdin
        with process.stdin as pipe:
            pipe.write(self.plan(*services).model_dump_json().encode())
        self._processes.append(process)
        return process

    def report(self) -> StackReport | None:
        path = self.folder / "stack.json"
        return StackReport.model_validate_json(path.read_text()) if path.exists() else None

    def wait_for(self, holds: Callable[[StackReport], bool], *, within_s: float = 15.0) -> StackReport:
        deadline = time.monotonic() + within_s
        while True:
            report = self.report()
            if report and holds(report):
                return report
            assert time.monotonic() < deadline, f"not within {within_s} s: {report}"
            time.sleep(0.05)

    def happenings(self) -> list[str]:
        """What the supervisor logged, without the times."""
        return [line.split(" ", 3)[3] for line in (self.folder / "supervisor.log").read_text().splitlines()]

    def end(self) -> None:
        for process in self._processes:
            stop_group(process.pid, grace_s=5)
            process.wait()
        report = self.report()
        keepers = {each.pid for each in (report.supervisor, report.supervisor.keeper) if each} if report else set()
        running = list_stack_processes(self.stack_id)
        end_processes([stat for stat in running if stat.pid in keepers], grace_s=8)  # first: they replace what ends
        end_processes(list_stack_processes(self.stack_id), grace_s=2)
