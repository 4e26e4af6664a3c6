"""A step that is forked finds what it finds in an interpreter of its own, ends alike, and is ended alike."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.control_plane.engine.family import list_marked
from embedded.control_plane.engine.task_process import Ending, TaskProcess
from tests.embedded.warm_world import PROJECT, World, running, wait_until, world_in


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = world_in(tmp_path_factory.mktemp("warm"))
    made.wait_warm()
    yield made
    made.warm.close()


IS_FORKED = "told['is_forked'] = b'warm_program' in open('/proc/self/cmdline', 'rb').read()\n"
ALL_THAT_IT_SEES = """
import resource, signal, subprocess, threading
told["environment"] = dict(os.environ)
told["childs"] = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
told["argv"] = [sys.argv, sys.orig_argv, sys.executable, sys.flags.safe_path]
told["path"], told["cwd"] = sys.path, os.getcwd()
told["files"] = sorted(os.listdir("/proc/self/fd"))
told["input"] = os.readlink("/proc/self/fd/0")
told["limits"] = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT")]
told["handlers"] = [repr(signal.getsignal(number)).split(" at ")[0] for number in range(1, 32)]
told["blocked"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
told["umask"] = os.umask(0)
told["threads"] = threading.active_count(), threading.current_thread() is threading.main_thread()
told["main"] = sys.modules["__main__"].__spec__.name
told["ours"] = [name for name in sys.modules if name.startswith(("embedded", "ratchet"))]
told["streams"] = [(one.encoding, one.errors, one.write_through) for one in (sys.stdout, sys.stderr)]
told["marks"] = [part for part in open("/proc/self/environ").read().split("\\0") if part.startswith("KFP_TASK_PROCESS")]
told["is_in_group_of_session"] = os.getpgid(0) == os.getsid(0)
"""


def comparable(seen: dict[str, Any], number: int) -> Any:
    """Without what names the attempt itself: its number, and the name that mktemp chose."""
    text = json.dumps({**seen, "childs": sorted(seen["childs"].splitlines())}, sort_keys=True)
    folder = seen["argv"][0][2].rpartition("/")[0]
    return json.loads(
        text.replace(folder, "PROGRAM").replace(f"step-{number}", "STEP").replace(f":f:{number}:", ":f:N:")
    )


def test_a_forked_step_sees_what_one_with_its_own_interpreter_sees(world: World) -> None:
    seen = []
    for is_forked in (False, True):
        told = world.told(IS_FORKED + ALL_THAT_IT_SEES, is_forked=is_forked, env={"OF_THE_STEP": "a=b"})
        assert told.pop("is_forked") is is_forked
        seen.append(comparable(told, world.num))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"TZ": "Asia/Tokyo"}, id="a-variable-that-is-read-at-the-start"),
        pytest.param({"PYTHONUTF8": "1"}, id="a-variable-of-the-interpreter"),
    ],
)
def test_a_step_that_a_fork_would_not_serve_has_its_own_interpreter(world: World, env: dict[str, str]) -> None:
    assert world.told(IS_FORKED, env=env)["is_forked"] is False


def test_a_users_module_wins_over_an_installed_one_of_its_name(world: World, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("MINE = True")
    told = world.told(IS_FORKED + "import numpy; told['mine'] = numpy.MINE", env={"PYTHONPATH": str(tmp_path)})
    assert told == {"is_forked": False, "mine": True}


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        pytest.param("print('done')", 0, "done", id="returns"),
        pytest.param("raise SystemExit(3)", 3, "", id="says-a-code"),
        pytest.param("raise SystemExit('no more')", 1, "no more", id="says-why"),
        pytest.param("raise ValueError('is wrong')", 1, "ValueError: is wrong", id="raises"),
        pytest.param("import os; os._exit(7)", 7, "", id="leaves-at-once"),
        pytest.param("import os; os.kill(os.getpid(), 9)", 137, "", id="is-killed"),
        pytest.param("import os; os.abort()", 134, "", id="crashes"),
    ],
)
def test_it_ends_with_its_code_which_is_kept(world: World, body: str, code: int, said: str) -> None:
    ended = world.run(body)
    assert (ended.ending, ended.code) == (Ending.EXITED, code), world.log
    assert world.exit_path.read_text() == str(code)
    assert said in world.log
    assert "warm_program.py" not in world.log, "a traceback shows the step's code, not what forked it"


def test_at_its_end_threads_are_awaited_exit_functions_run_and_open_files_are_written(world: World) -> None:
    body = """
    import atexit, os, threading, time
    import kfp
    kfp.kept = open("kept", "w")
    kfp.kept.write("whole")
    threading.Thread(target=lambda: (time.sleep(0.2), open("late", "w").close())).start()
    atexit.register(lambda: open("left", "w").close())
    """
    assert world.run(body).is_success, world.log
    folder = world.exit_path.with_suffix("")
    assert (folder / "kept").read_text() == "whole"
    assert (folder / "late").exists()
    assert (folder / "left").exists()


def test_no_two_draw_the_same_random_numbers(world: World) -> None:
    body = IS_FORKED + "import random, numpy, uuid, tempfile\n"
    body += "told['drawn'] = [random.random(), numpy.random.rand(), str(uuid.uuid4())]\n"
    body += "told['folder'] = tempfile.gettempdir()\n"
    first, second = world.told(body), world.told(body)
    assert first["is_forked"] and second["is_forked"]
    assert not set(first["drawn"]) & set(second["drawn"])
    assert first["folder"] != second["folder"]


WITH_CHILD = "subprocess.Popen(['sleep', '60'], start_new_session=True)"


def test_a_stop_ends_it_with_what_left_its_group_and_keeps_no_code(world: World) -> None:
    process, wait, command = running(world, WITH_CHILD)
    assert len(list_marked(command.mark)) == 3, "its recorder, the step, and its child"
    process.stop(grace_s=5)
    assert wait().ending is Ending.STOPPED
    assert not list_marked(command.mark)
    assert not world.exit_path.exists()


def test_one_over_its_memory_is_ended_by_name(world: World) -> None:
    body = "import time\nbig = b'x' * (400 << 20)\ntime.sleep(60)"
    command = world.command(body, warm=world.warm, memory_bytes_max=200 << 20)
    ended = TaskProcess().run(command)
    assert ended.ending is Ending.OUT_OF_MEMORY
    assert not list_marked(command.mark)


CONTROL_PLANE = """
import sys
from pathlib import Path
from tests.embedded.warm_world import running, world_in

folder = Path(sys.argv[1])
world = world_in(folder, "kfp.dsl.executor")
world.wait_warm()
running(world, sys.argv[2])
Path(folder / "runs").write_text(str(world.exit_path))
running(world, "")
"""


def test_it_dies_with_the_control_plane_however_that_dies(tmp_path: Path) -> None:
    words = [sys.executable, "-c", CONTROL_PLANE, str(tmp_path), WITH_CHILD]
    process = subprocess.Popen(words, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)})
    wait_until((tmp_path / "runs").exists, within_s=60, what="a step runs")
    process.kill()
    process.wait(10)
    # Its reaper (family.py) is not there: what the step started itself goes with the next start of an engine.
    engine = f"engine-{tmp_path.name}:"
    children = {pid for pid in list_marked(engine) if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")}
    assert len(children) == 1
    wait_until(lambda: set(list_marked(engine)) <= children, within_s=5, what="the steps and their server are gone")
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    assert not Path((tmp_path / "runs").read_text()).exists(), "a step that was ended has to run again"


def test_when_the_forking_process_is_killed_its_steps_go_on_and_the_next_start_alone(world: World) -> None:
    process, wait, command = running(world, "")
    (server,) = list_marked(f"{world.engine_id}:warm:")
    os.kill(server, signal.SIGKILL)
    time.sleep(0.1)
    assert world.told(IS_FORKED)["is_forked"] is False
    assert list_marked(command.mark), "it has its own recorder"
    process.stop(grace_s=0)
    assert wait().ending is Ending.STOPPED
    assert world.told(IS_FORKED)["is_forked"] is True, "it waited for the imports that the step before began"


def test_a_module_of_the_users_project_is_imported_as_it_is_now(world: World, tmp_path: Path) -> None:
    module = tmp_path / "users_own.py"
    seen = []
    for text in ("X = 'first'", "X = 'second'"):
        module.write_text(text)
        body = IS_FORKED + "import users_own; told['x'] = users_own.X\n"
        seen.append(world.told(body, env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}))
    assert [one["x"] for one in seen] == ["first", "second"]


def test_when_the_imports_fail_every_step_starts_alone_and_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = world_in(tmp_path, "no_such_module", "lib2to3.__main__")  # one is not there, one ends the process
    try:
        assert world.run("pass").is_success
        wait_until(lambda: not list_marked(f"{world.engine_id}:warm:"), within_s=20, what="it has ended")
        assert [world.told(IS_FORKED)["is_forked"] for _ in range(2)] == [False, False]
    finally:
        world.warm.close()
    assert "no_such_module is not imported ahead" in (tmp_path / "warm_steps.log").read_text()
    assert len([record for record in caplog.records if "their imports failed" in record.message]) == 1
