"""Temporary folders that a kill leaves behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ratchet.adapters.scratch import ScratchFolder, remove_abandoned

PREFIX = "ratchet-git-"
HOLDER = """
import sys, time
from ratchet.adapters.scratch import ScratchFolder
folder = ScratchFolder(sys.argv[1])
print(folder.path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_the_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays():
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, PREFIX], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    path = Path(holder.stdout.readline().strip())
    age(path, 7 * 86_400)
    assert remove_abandoned(PREFIX) == 0 and path.is_dir()
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=10)
    assert path.is_dir()
    own = ScratchFolder(PREFIX)
    assert not path.exists() and own.path.is_dir()


def test_what_is_young_or_not_ours_stays(temporary):
    young, other, link = temporary / f"{PREFIX}young", temporary / "other", temporary / f"{PREFIX}link"
    young.mkdir()
    other.mkdir()
    link.symlink_to(other)
    age(other, 1e6)
    assert remove_abandoned(PREFIX) == 0
    age(young, 90_000)
    assert remove_abandoned(PREFIX) == 1 and other.is_dir()


def test_a_folder_elsewhere_is_made_there_and_abandoned_ones_are_looked_for_there(tmp_path: Path):
    shared = tmp_path / "shared" / "training"
    abandoned = shared / f"{PREFIX}old"
    abandoned.mkdir(parents=True)
    (abandoned / ".owner").touch()
    age(abandoned, 120)
    with ScratchFolder(PREFIX, folder=shared) as path:
        assert path.parent == shared
        assert not abandoned.exists()
    assert list(shared.iterdir()) == []
