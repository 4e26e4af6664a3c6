"""The supervisor with small servers of its own: order, readiness, failures."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from embedded.control_plane.host.processes import process_stat
from embedded.services import StackReport
from embedded.supervisor import ALREADY_RUNNING
from tests.embedded.small_stack import SERVER, Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    made.end()


def states(report: StackReport) -> dict[str, str]:
    return {service.name: service.state for service in report.services}


def test_servers_start_after_those_they_need_and_stop_before_them(stack: Stack) -> None:
    supervisor = stack.start(stack.service("front", needs=("store",)), stack.service("store", slow_s=0.3))
    stack.wait_for(lambda report: report.is_ready)
    supervisor.terminate()
    assert supervisor.wait(timeout=10) == 0
    happened = [line.partition(",")[0].partition(" after")[0] for line in stack.happenings()]
    assert happened == [
        "store: started",
        "store: ready",
        "front: started",
        "front: ready",
        "front: stopped",
        "store: stopped",
    ]


def test_independent_servers_start_at_once(stack: Stack) -> None:
    began = time.monotonic()
    stack.start(*(stack.service(name, slow_s=3.0) for name in "abc"))
    stack.wait_for(lambda report: report.is_ready)
    assert time.monotonic() - began < 8.9, "one after the other would take 9 s"


def test_a_server_that_never_becomes_ready_has_failed_and_is_tried_again(stack: Stack) -> None:
    stack.start(stack.service("broken").model_copy(update={"command": ("sh", "-c", "exit 3")}))
    report = stack.wait_for(lambda report: states(report) == {"broken": "failed"})
    assert "exit code 3" in report.services[0].detail
    stack.wait_for(lambda later: later.services[0].restarts > report.services[0].restarts)


def test_a_server_that_is_too_slow_is_ended(stack: Stack) -> None:
    stack.start(stack.service("slow", slow_s=60, within_s=0.5))
    started = stack.wait_for(lambda report: states(report) == {"slow": "starting"}).services[0].pid
    report = stack.wait_for(lambda report: states(report) == {"slow": "restarting"})
    assert "not ready within" in report.services[0].detail
    assert started and process_stat(started) is None


def test_a_stranger_who_answers_on_our_port_is_not_taken_for_our_server(stack: Stack) -> None:
    service = stack.service("late", slow_s=0.5)

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    # In this process, which is not in the group of the server that comes too late.
    stranger = HTTPServer(("127.0.0.1", service.port), Ready)
    threading.Thread(target=stranger.serve_forever, daemon=True).start()
    try:
        stack.start(service)
        stack.wait_for(lambda report: states(report) == {"late": "restarting"})
        assert not any("ready after" in line for line in stack.happenings())
    finally:
        stranger.shutdown()
        stranger.server_close()
    stack.wait_for(lambda report: report.is_ready)


def test_what_a_dead_server_leaves_in_its_group_is_ended(stack: Stack) -> None:
    service = stack.service("leader")
    port = service.port
    # The shell is the server's leader; its child holds the port and would keep the next start from it.
    command = ("sh", "-c", f"{sys.executable} -c '{SERVER}' {port} 0 & wait")
    stack.start(service.model_copy(update={"command": command}))
    report = stack.wait_for(lambda report: report.is_ready)
    pid = report.services[0].pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    stack.wait_for(lambda report: report.is_ready and report.services[0].restarts == 1)


def test_one_supervisor_at_a_time(stack: Stack) -> None:
    stack.start(stack.service("only"))
    stack.wait_for(lambda report: report.is_ready)
    assert stack.start(stack.service("second")).wait(timeout=10) == ALREADY_RUNNING


def test_a_log_that_has_grown_is_set_aside(stack: Stack) -> None:
    service = stack.service("chatty")
    service.log.parent.mkdir()
    service.log.write_bytes(b"x" * (16 * 1024 * 1024 + 1))
    stack.start(service)
    stack.wait_for(lambda report: report.is_ready)
    assert service.log.stat().st_size == 0
    assert service.log.with_suffix(".log.1").exists()
