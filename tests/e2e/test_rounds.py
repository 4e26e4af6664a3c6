"""Each real task of two rounds, as a user runs it, with a few hundred labels a round."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo import rounds
from ratchet.core.errors import NotFound, Unavailable
from ratchet.settings import cache_dir_from_env, child_env
from tests.own_ports import with_own_ports

pytestmark = [pytest.mark.rounds, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("task", "is_contest"),
    [("mails", False), ("flights", False), ("digits-png", False), ("ratings", True), ("sentiment", False)],
)
def test_the_second_round_makes_a_better_champion(tmp_path: Path, task: str, is_contest: bool) -> None:
    """is_contest: another kind of model challenges, so the champion may also stay."""
    fetch_data(task)
    cache = cache_dir_from_env().parent
    state_dir = with_own_ports(tmp_path / "state")
    env = child_env({"RATCHET_STATE_DIR": str(state_dir), "XDG_CACHE_HOME": str(cache)})
    command = [str(Path(sys.executable).with_name("ratchet")), "demo", task, "--quick", "--stop", "--json"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    print(f"{task}: {told['duration_s']} s, {told['figures']}")
    assert told["went_as_told"] and told["num_failed"] == 0
    before, after = told["figures"]["before"], told["figures"]["after"]
    assert is_contest or after > before, told["figures"]


def fetch_data(task: str) -> None:
    """Skips where no registry is in reach, and nothing of it in the cache."""
    try:
        rounds.load(task, size="quick")
    except (Unavailable, NotFound) as error:
        pytest.skip(str(error))
