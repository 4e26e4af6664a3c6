"""Children die with their parent, groups stop within a deadline, ports are free."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.control_plane.host.processes import (
    family_of,
    free_port,
    is_listener_in_group,
    is_port_free,
    list_processes,
    process_stat,
    stop_group,
    tethered,
)

PARENT = """
import subprocess, sys
from embedded.control_plane.host.processes import tethered
child = subprocess.Popen(tethered(["sleep", "60"]), start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""
STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
child.wait()
"""


def start(*command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)


def first_number(process: "subprocess.Popen[str]") -> int:
    assert process.stdout
    return int(process.stdout.readline())


def wait_until(holds: Callable[[], bool], *, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_a_tethered_child_dies_with_a_parent_that_is_killed() -> None:
    parent = start(sys.executable, "-c", PARENT)
    child = first_number(parent)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: process_stat(child) is None), "SIGKILL of the parent must reach the child"


def test_a_tether_keeps_pid_and_exit_code() -> None:
    child = start(*tethered(["sh", "-c", "echo $$; exit 7"]))
    assert first_number(child) == child.pid, "no wrapper may remain between us and the command"
    assert child.wait() == 7


def test_a_tether_whose_parent_is_gone_starts_nothing(tmp_path: Path) -> None:
    tether = tethered(["touch", str(tmp_path / "started")])
    tether[tether.index(str(os.getpid()))] = "1"
    assert start(*tether).wait() == 3
    assert not (tmp_path / "started").exists()


def test_stop_group_ends_one_that_ignores_sigterm_and_its_children() -> None:
    leader = start(sys.executable, "-c", STUBBORN)
    child = first_number(leader)
    began = time.monotonic()
    stop_group(leader.pid, grace_s=0.3)
    assert process_stat(leader.pid) is None
    assert process_stat(child) is None
    assert time.monotonic() - began < 3


def test_stop_group_gives_time_to_end_in_order() -> None:
    polite = start("sh", "-c", "trap 'exit 0' TERM; echo 1; while :; do sleep 0.05; done")
    first_number(polite)
    stop_group(polite.pid, grace_s=5)
    assert process_stat(polite.pid) is None


def test_stop_group_of_one_that_is_gone_is_fine() -> None:
    gone = start("true")
    gone.wait()
    stop_group(gone.pid, grace_s=1)


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_stop_group_refuses_what_we_cannot_have_started(pid: int) -> None:
    with pytest.raises(AssertionError):
        stop_group(pid, grace_s=0)


def test_free_port_prefers_and_avoids() -> None:
    port = free_port()
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert not is_port_free(port)
        assert free_port(port) != port
        assert is_listener_in_group(os.getpgid(0), port=port)
        assert not is_listener_in_group(1, port=port), "a stranger's listener is not ours"
    assert is_port_free(port)


def test_family_holds_children_of_children() -> None:
    leader = start(sys.executable, "-c", STUBBORN)
    child = first_number(leader)
    try:
        assert [stat.pid for stat in family_of(leader.pid, list(list_processes()))] == [leader.pid, child]
    finally:
        stop_group(leader.pid, grace_s=0)


def test_a_zombie_is_no_process() -> None:
    child = start("true")
    assert wait_until(lambda: process_stat(child.pid) is None), "it has ended, though nobody has reaped it"
    child.wait()


def test_start_times_tell_processes_apart() -> None:
    child = start("sleep", "60")
    try:
        stat, ours = process_stat(child.pid), process_stat(os.getpid())
        assert stat and ours and stat.started_at_ticks > ours.started_at_ticks
        assert stat.parent_pid == os.getpid()
        assert ours.resident_bytes > 1_000_000
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
