"""Steps of one engine, forked or not, without a control plane around them."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from embedded.control_plane.engine.environment import base_environment
from embedded.control_plane.engine.family import MARK_VARIABLE
from embedded.control_plane.engine.task_process import TaskCommand, TaskExit, TaskProcess
from embedded.control_plane.engine.warm_steps import WarmSteps

PROJECT = Path(__file__).parents[2]
MODULES = ("kfp.dsl.executor", "numpy")
"""The least that a step imports, and one that keeps random numbers: 1 s."""
SCRIPT = """program_path=$(mktemp -d)

printf "%s" "$0" > "$program_path/ephemeral_component.py"
_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main                         --component_module_path                         "$program_path/ephemeral_component.py"                         "$@"
"""  # noqa: E501 - as the compiler writes it; see test_executor_call.py


@dataclass
class World:
    """Steps of one engine; each has folders of its own."""

    folder: Path
    warm: WarmSteps
    engine_id: str
    num: int = 0
    log: str = ""
    exit_path: Path = field(default_factory=Path)

    def command(
        self, body: str, *, warm: WarmSteps | None, env: Mapping[str, str] | None = None, memory_bytes_max: int = 0
    ) -> TaskCommand:
        self.num += 1
        cwd = self.folder / f"step-{self.num}"
        cwd.mkdir()
        source = f"import kfp\nfrom kfp import dsl\n\ndef f():\n{indent(dedent(body), '    ')}\n"
        given = json.dumps({"inputs": {}, "outputs": {"outputFile": str(cwd / "outputs.json")}})
        self.exit_path = cwd.with_suffix(".exit")
        return TaskCommand(
            words=("sh", "-ec", SCRIPT, source, "--executor_input", given, "--function_to_execute", "f"),
            env=base_environment(project_dir=PROJECT, tmp_dir=cwd) | {"TOLD": str(cwd / "told")} | dict(env or {}),
            cwd=cwd,
            log_path=cwd.with_suffix(".log"),
            mark=f"{self.engine_id}:run:f:{self.num}:",
            exit_path=self.exit_path,
            warm=warm,
            memory_bytes_max=memory_bytes_max,
        )

    def run(self, body: str, *, is_forked: bool = True, env: Mapping[str, str] | None = None) -> TaskExit:
        command = self.command(body, warm=self.warm if is_forked else None, env=env)
        ended = TaskProcess().run(command)
        self.log = command.log_path.read_text()
        return ended

    def told(self, body: str, *, is_forked: bool = True, env: Mapping[str, str] | None = None) -> Any:
        """What a step has put into `told`, and whether it was forked."""
        head = "import json, os, sys\ntold = {}\n"
        tail = "\nwith open(os.environ['TOLD'], 'w') as file: json.dump(told, file)\n"
        ended = self.run(head + dedent(body) + tail, is_forked=is_forked, env=env)
        assert ended.is_success, self.log
        return json.loads((self.folder / f"step-{self.num}" / "told").read_text())

    def wait_warm(self) -> None:
        def is_warm() -> bool:
            command = self.command("pass", warm=None)
            env = {**command.env, MARK_VARIABLE: command.mark}
            with command.log_path.open("ab") as log:
                step = self.warm.start(
                    command.words, env=env, cwd=command.cwd, exit_path=command.exit_path, log_fd=log.fileno()
                )
            return step is not None and step.wait() == 0

        wait_until(is_warm, within_s=60, what="the modules are imported")


def world_in(folder: Path, *modules: str) -> World:
    engine_id, log_path = f"engine-{folder.name}", folder / "warm_steps.log"
    warm = WarmSteps(
        modules or MODULES, {"_KFP_RUNTIME": "true"}, project_dir=PROJECT, engine_id=engine_id, log_path=log_path
    )
    return World(folder, warm, engine_id)


def running(world: World, body: str) -> tuple[TaskProcess, Callable[[], TaskExit], TaskCommand]:
    """A step under way, which has said so in `told`; and what waits for its end."""
    head = "import os, subprocess, time, signal\n"
    body = head + dedent(body) + "\nopen(os.environ['TOLD'], 'w').close()\ntime.sleep(60)\n"
    command, process, ends = world.command(body, warm=world.warm), TaskProcess(), []
    thread = threading.Thread(target=lambda: ends.append(process.run(command)))
    thread.start()

    def wait() -> TaskExit:
        thread.join(20)
        return ends[0]

    wait_until(Path(command.env["TOLD"]).exists, within_s=20, what="the step runs")
    return process, wait, command


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Not the one of kfp_server.py: a control plane that is killed here need not import kfp."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)
