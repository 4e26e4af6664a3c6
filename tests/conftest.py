"""Fixtures that all tests share: real servers, started once a session, in a state folder of their own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from embedded.object_store import NAME as OBJECT_STORE
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from ratchet.settings import Settings, child_env, parse_profile, settings_of

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


@pytest.fixture(scope="session")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A real object store with the usual buckets; it dies with the tests, however they end."""
    base = Settings(state_dir=tmp_path_factory.mktemp("s3") / "state")
    start_stack(base, project_dir=PROJECT_DIR, services=(OBJECT_STORE,), is_detached=False)
    yield settings_in(base.state_dir)
    stop_stack(layout_of(base))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The complete embedded stack, started and stopped by the commands that a user types.

    A command of a test sees it with `child_env(settings.as_env())`.
    """
    state_dir = tmp_path_factory.mktemp("stack") / "state"
    env = child_env({"RATCHET_STATE_DIR": str(state_dir)})
    ratchet = Path(sys.executable).with_name("ratchet")
    up = subprocess.run([ratchet, "up"], env=env, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=200)
    assert up.returncode == 0, f"`ratchet up` failed:\n{up.stderr}"
    yield settings_in(state_dir)
    subprocess.run([ratchet, "down"], env=env, cwd=PROJECT_DIR, check=True, capture_output=True, timeout=120)


def _group_of(nodeid: str) -> str:
    module = nodeid.partition("::")[0]
    if module.startswith("tests/fuzz/"):
        return nodeid  # each takes as long as it is told to, a minute in `make fuzz`
    if module.startswith("tests/oip/"):
        return "oip"  # they ask one server
    return "stack" if module.startswith(("tests/embedded/test_stack", "tests/e2e/")) else module


class _Groups(LoadScopeScheduling):
    """A module goes to one worker, and all that start a whole stack to the same one: two stacks fight over the ports.

    The groups of `--dist loadgroup` would do, but xdist 3.8 cannot mark the tests of pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Groups:
    return _Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests on whole stacks take longest, so they come first."""
    items.sort(key=lambda item: _group_of(item.nodeid) != "stack")
