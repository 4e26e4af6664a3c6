"""The fork server's protocol, with a stand-in for the model server: nothing heavy is imported."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.control_plane.host.held import Held
from embedded.control_plane.host.processes import list_processes
from embedded.control_plane.kserve.forks import ForkServer
from embedded.control_plane.kserve.register import Entered, ServerRecord, ServerRegister
from embedded.leftovers import end_processes

PROGRAM = """
import os, sys, time
from ratchet.serving.fork_server import own_socket, serve_forks
from ratchet.settings import set_process_env

def run(argv):
    print("argv", argv, os.environ["RATCHET_X"], flush=True)
    time.sleep(float(argv[1]))
    return int(argv[0])

own_socket()
serve_forks(run, set_process_env)
"""


class Nursery:
    """A fork server and the register of what it forks."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "server.log"
        self.register = ServerRegister(folder / "servers")
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self.command = (sys.executable, str(program))
        self.forks = self.client()

    def client(self) -> ForkServer:
        """Of a control plane; the next one gets to the same fork server."""
        project = Path(__file__).parents[2]
        return ForkServer(
            self.command, cwd=project, log_path=self.folder / "fork.log", folder=self.folder / "s", is_lasting=True
        )

    async def fork(self, code: int, seconds: float, *, forks: ForkServer | None = None) -> tuple[int, Entered]:
        entered = self.register.enter(ServerRecord(service_uid="u", revision="r", replica=0, port=1))
        with self.log.open("ab") as log:
            fds = (entered.fd, log.fileno())
            env = {"RATCHET_X": "from the request"}
            pid = await (forks or self.forks).fork([str(code), str(seconds)], env=env, fds=fds, within_s=30)
        os.close(entered.fd)
        return pid, entered

    def processes(self) -> list[int]:
        return [stat.pid for stat in list_processes() if str(self.folder).encode() in cmdline_of(stat.pid)]


def cmdline_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path)
    yield made
    left = set(made.processes())
    end_processes([stat for stat in list_processes() if stat.pid in left], grace_s=0)


def test_a_forked_server_has_its_arguments_its_log_and_leaves_its_exit_code(nursery: Nursery) -> None:
    async def scenario() -> int | None:
        pid, entered = await nursery.fork(3, 1.5)
        assert [server.pid for server in nursery.register.list_living()] == [pid]
        await asyncio.wait_for(Held(pid).ended(), 10)
        return nursery.register.take_exit_code(entered.path)

    assert asyncio.run(scenario()) == 3
    assert nursery.log.read_text() == "argv ['3', '1.5'] from the request\n"
    assert nursery.register.list_living() == []


def test_servers_outlive_their_fork_server_and_the_next_caller_finds_the_one_that_lives(nursery: Nursery) -> None:
    async def scenario() -> None:
        first, _ = await nursery.fork(0, 60)
        nursery.forks.close()  # as when its control plane is killed
        (forks_pid,) = (pid for pid in nursery.processes() if pid != first)
        second, _ = await nursery.fork(0, 60, forks=nursery.client())
        assert set(nursery.processes()) == {forks_pid, first, second}, "the same fork server"
        held = Held(forks_pid)
        os.kill(forks_pid, 9)
        await held.ended()
        third, _ = await nursery.fork(0, 60)
        assert {first, second, third} == {server.pid for server in nursery.register.list_living()}

    asyncio.run(scenario())


def test_a_record_without_a_process_is_no_server_and_goes(nursery: Nursery) -> None:
    """The control plane was killed between writing it and starting the process: the kernel has freed the lock."""
    entered = nursery.register.enter(ServerRecord(service_uid="u", revision="r", replica=0, port=1))
    assert nursery.register.list_living() == [], "we hold it ourselves: no server does"
    os.close(entered.fd)
    assert nursery.register.list_living() == [] and not entered.path.exists()
