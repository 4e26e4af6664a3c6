"""A thread that lives as long as its server is a `wire.loop.Loop`, or is named here with what watches it."""

import ast
from pathlib import Path

from tests.architecture.trees import tree_of

ROOT = Path(__file__).parents[2]
SERVERS = ("embedded", "ratchet", "sensors", "wire", "components")
WATCHED_OTHERWISE = {
    "wire/loop.py": "the loop itself: a heartbeat in each",
    "embedded/control_plane/engine/engine.py": "waits for events, not for a time; a heartbeat of its own",
    "sensors/label_sensor/loop.py": "four threads share the tasks; a heartbeat each",
    "embedded/control_plane/engine/task_process.py": "lives as long as the end of one process, and is joined",
}


def makes_a_thread(path: Path) -> bool:
    made = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
    }
    return bool(made & {"Thread", "start_new_thread"})


def test_each_thread_that_lasts_is_a_loop_with_a_heartbeat():
    found = {
        str(path.relative_to(ROOT))
        for package in SERVERS
        for path in sorted((ROOT / package).rglob("*.py"))
        if makes_a_thread(path)
    }
    assert found == WATCHED_OTHERWISE.keys(), "use wire.loop.Loop, whose exceptions are failed rounds"
