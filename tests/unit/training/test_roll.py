"""A worker whose peers are silent names the lost one."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.training.roll import Roll, state_of


@pytest.fixture
def peer() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that sleeps."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def roll_with(tmp_path: Path, pid: int, *, world_size: int = 2, host: str = "") -> Roll:
    """Of worker 0; worker 1 has that process, on this machine unless another is named."""
    roll = Roll(tmp_path / "workers", rank=0, world_size=world_size)
    roll.sign_in()
    (tmp_path / "workers" / "1").write_text(f"{pid} {host or platform.node()}")
    return roll


def test_a_worker_that_is_stopped_is_named(tmp_path: Path, peer: "subprocess.Popen[bytes]") -> None:
    os.kill(peer.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while state_of(peer.pid) != "T":
        assert time.monotonic() < deadline, state_of(peer.pid)
        time.sleep(0.01)
    assert roll_with(tmp_path, peer.pid).lost_words() == (
        f"worker 0 of 2 lost worker 1: its process {peer.pid} is stopped"
    )


def test_a_worker_that_is_gone_or_a_zombie_is_named(tmp_path: Path, peer: "subprocess.Popen[bytes]") -> None:
    peer.kill()
    os.waitid(os.P_PID, peer.pid, os.WEXITED | os.WNOWAIT)
    words = f"worker 0 of 2 lost worker 1: its process {peer.pid} is gone"
    assert roll_with(tmp_path, peer.pid).lost_words() == words
    peer.wait()
    assert roll_with(tmp_path, peer.pid).lost_words() == words


def test_of_one_on_another_machine_its_name_is_said_and_no_process_here_is_meant(tmp_path: Path) -> None:
    roll = roll_with(tmp_path, os.getpid(), host="node-1")
    assert roll.lost_words() == "worker 0 of 2 lost worker 1 on node-1: it does not answer"


def test_one_that_runs_is_lost_unless_it_has_lost_another_itself(
    tmp_path: Path, peer: "subprocess.Popen[bytes]"
) -> None:
    roll = roll_with(tmp_path, peer.pid, world_size=3)
    assert roll.lost_words() == f"worker 0 of 3 lost worker 1: its process {peer.pid} runs and does not answer"
    (tmp_path / "workers" / "1.noticed").touch()
    assert "another worker, which was started again since" in roll.lost_words()
    Roll(tmp_path / "workers", rank=1, world_size=3).sign_in()
    assert f"worker 1: its process {os.getpid()} runs" in roll.lost_words(), "of a new generation"
