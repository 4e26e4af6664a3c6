"""What speaks against a fork: pure decisions of the process that forks steps."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.engine.warm_program import check_forkable
from embedded.control_plane.engine.warmth import Warmth, problem_in, stale_in

GIVEN = {"PATH": "/bin", "CI": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUNBUFFERED": "1"}
WARMTH = Warmth(
    read=frozenset({"CI", "HTTP_DEBUG", "MLFLOW_DISABLE_TELEMETRY", "TMPDIR"}),
    given=GIVEN,
    exempt=frozenset({"MLFLOW_DISABLE_TELEMETRY"}),
    names=frozenset({"pandas", "yaml"}),
    stamps={},
)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({}, "", id="the-same"),
        pytest.param({"RATCHET_TASK": "digits", "AWS_REGION": "eu"}, "", id="nobody-read-them"),
        pytest.param({"TMPDIR": "/t", "PWD": "/t", "KFP_TASK_PROCESS": "m"}, "", id="repeated-in-the-step"),
        pytest.param({"MLFLOW_DISABLE_TELEMETRY": None}, "", id="set-for-the-imports-alone"),
        pytest.param({"CI": "0"}, "CI", id="read-and-changed"),
        pytest.param({"CI": None}, "CI", id="read-and-gone"),
        pytest.param({"HTTP_DEBUG": "1"}, "HTTP_DEBUG", id="read-and-new"),
        pytest.param({"OMP_NUM_THREADS": "4"}, "OMP_NUM_THREADS", id="read-by-c-code"),
        pytest.param({"PYTHONHASHSEED": "0"}, "PYTHONHASHSEED", id="read-by-the-interpreter"),
        pytest.param({"PYTHONUNBUFFERED": None}, "PYTHONUNBUFFERED", id="the-interpreters-and-gone"),
    ],
)
def test_a_variable_that_was_read_and_differs_refuses(
    tmp_path: Path, changes: dict[str, str | None], named: str
) -> None:
    env = {name: value for name, value in {**GIVEN, **changes}.items() if value is not None}
    problem = problem_in(env, str(tmp_path), WARMTH)
    assert problem.startswith(f"it sets {named}," if named else "") and bool(problem) is bool(named)


@given(st.dictionaries(st.sampled_from(["CI", "OTHER", "LC_ALL", "PATH", "PWD"]), st.sampled_from(["", "1", "/bin"])))
def test_only_variables_that_were_read_decide(env: dict[str, str]) -> None:
    differing = {name for name in ("CI", "LC_ALL", "PYTHONUNBUFFERED") if env.get(name) != GIVEN.get(name)}
    assert bool(problem_in(env, "/nowhere", WARMTH)) is bool(differing)


@pytest.mark.parametrize(
    ("path", "is_in_front"),
    [
        pytest.param("pandas.py", True, id="a-module"),
        pytest.param("yaml.cpython-311-x86_64-linux-gnu.so", True, id="a-compiled-module"),
        pytest.param("pandas/__init__.py", True, id="a-package"),
        pytest.param("pandas/data.csv", False, id="a-folder-that-is-no-package"),
        pytest.param("pandas.csv", False, id="no-module"),
        pytest.param("tasks.py", False, id="a-name-of-its-own"),
    ],
)
def test_a_module_in_front_of_an_imported_one_refuses(tmp_path: Path, path: str, is_in_front: bool) -> None:
    (tmp_path / "project" / path).parent.mkdir(parents=True)
    (tmp_path / "project" / path).touch()
    env = {**GIVEN, "PYTHONPATH": os.pathsep.join(["", "/nowhere", "project"])}
    assert bool(problem_in(env, str(tmp_path), WARMTH)) is is_in_front
    assert bool(problem_in(GIVEN, str(tmp_path / "project"), WARMTH)) is is_in_front, "the working folder comes first"


def test_packages_that_were_installed_or_removed_since_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    warmth = Warmth(frozenset(), {}, frozenset(), frozenset(), {str(folder): folder.stat().st_mtime_ns})
    assert stale_in(warmth) == ""
    os.utime(folder, ns=(0, folder.stat().st_mtime_ns + 1))
    assert str(folder) in stale_in(warmth)
    folder.rmdir()
    assert str(folder) in stale_in(warmth)


def test_a_process_with_threads_is_never_forked() -> None:
    held = threading.Event()
    thread = threading.Thread(target=held.wait, args=(10,), name="exporter")
    thread.start()
    try:
        with pytest.raises(SystemExit, match="exporter"):
            check_forkable()
    finally:
        held.set()
        thread.join()
