"""Fixtures that all tests share: real servers, started once a session, in a state folder of their own."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import typer.main
import typer.testing
from xdist.scheduler import LoadScopeScheduling

from embedded.object_store import NAME as OBJECT_STORE
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from ratchet.settings import Settings, child_env, parse_profile, settings_of
from tests.own_ports import with_own_ports

PROJECT_DIR = Path(__file__).parent.parent
# A loaded machine is no fault: no example has a deadline, and generating may be slow.
_PATIENT: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
}
hypothesis.settings.register_profile("patient", **_PATIENT)
hypothesis.settings.register_profile("fast", max_examples=15, **_PATIENT)
hypothesis.settings.load_profile("patient")


def settings_in(state_dir: Path) -> Settings:
    """The settings that `ratchet up` wrote into this state folder."""
    profile = state_dir / "profile.env"
    return settings_of(parse_profile(profile.read_text(), where=str(profile)))


@pytest.fixture(scope="session", autouse=True)
def commands_made_once() -> Iterator[None]:
    """Typer makes all commands of a program again at each call, in 0.3 s of CPU time; tests call 500 times."""
    made = cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", made)
        patch.setattr(typer.testing, "_get_command", made)
        yield


@pytest.fixture(scope="session")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A real object store with the usual buckets; it dies with the tests, however they end."""
    base = Settings(state_dir=with_own_ports(tmp_path_factory.mktemp("s3") / "state"))
    start_stack(base, project_dir=PROJECT_DIR, services=(OBJECT_STORE,), is_detached=False)
    yield settings_in(base.state_dir)
    stop_stack(layout_of(base))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The complete embedded stack, started and stopped by the commands that a user types.

    A command of a test sees it with `child_env(settings.as_env())`.
    """
    state_dir = with_own_ports(tmp_path_factory.mktemp("stack") / "state")
    env = child_env({"RATCHET_STATE_DIR": str(state_dir)})
    ratchet = Path(sys.executable).with_name("ratchet")
    up = subprocess.run([ratchet, "up"], env=env, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=200)
    assert up.returncode == 0, f"`ratchet up` failed:\n{up.stderr}"
    yield settings_in(state_dir)
    subprocess.run([ratchet, "down"], env=env, cwd=PROJECT_DIR, check=True, capture_output=True, timeout=120)


_ASK_THE_STACK = ("tests/embedded/test_stack_commands", "tests/embedded/test_stack_strangers")
"""Whose tests take the session's whole stack, which needs 20 s to start."""


def _group_of(nodeid: str) -> str:
    """What one worker runs, one test after the other."""
    module = nodeid.partition("::")[0]
    if module.startswith(("tests/fuzz/", "tests/e2e/test_rounds", "tests/e2e/test_guide")):
        # Each takes minutes (a fuzzer in `make fuzz`), and what it starts is its own. One page asks a model of another.
        return nodeid.replace("[own-pipeline]", "[wide-images]")
    if module.startswith("tests/oip/"):
        return "oip"  # they ask one server
    return "stack" if module.startswith(_ASK_THE_STACK) else module


def _turn_of(nodeid: str) -> int:
    """What takes long comes first, so that both workers end at once. While a stack is killed under load, whose users
    must notice nothing, the other worker has servers to ask; what trains comes last."""
    if nodeid.startswith(("tests/embedded/test_stack_chaos", *_ASK_THE_STACK)):
        return 0
    if nodeid.startswith("tests/embedded/"):
        return 1
    return 2 if nodeid.startswith("tests/e2e/") else 3


class _Groups(LoadScopeScheduling):
    """A module goes to one worker, and all that ask the session's whole stack to the same one.

    The groups of `--dist loadgroup` would do, but xdist 3.8 cannot mark the tests of pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Groups:
    return _Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn_of(item.nodeid))
