"""No image is left out in silence: the log, the record and the failure of a task name it."""

from typing import Any

import pytest

from embedded.control_plane.engine.environment import notes_of
from embedded.control_plane.engine.executors import Container
from embedded.control_plane.engine.images import image_note, with_image
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor


@pytest.mark.parametrize(
    ("image", "is_told"),
    [
        pytest.param("python:3.11", False, id="this-python"),
        pytest.param("docker.io/library/python:3.11.9-slim", False, id="this-python-by-its-full-name"),
        pytest.param("python:3.11@sha256:abc", False, id="this-python-by-digest"),
        pytest.param("argostub/createpvc", False, id="no-image-at-all"),
        pytest.param("python:3.9", True, id="another-python"),
        pytest.param("python:3.1", True, id="a-version-that-only-begins-like-ours"),
        pytest.param("python", True, id="any-python"),
        pytest.param("alpine", True, id="no-python"),
        pytest.param("my/python:3.11-cuda/x:1", True, id="python-in-the-name-only"),
    ],
)
def test_an_image_that_is_not_this_python_is_named(image: Any, is_told: Any) -> None:
    note = image_note(image, ours="3.11")
    assert (image in note) is is_told
    assert bool(note) is is_told


def test_log_of_a_task_names_its_image() -> None:
    assert any("alpine is not used here" in note for note in notes_of(Container(image="alpine"), KubernetesExecutor()))


@pytest.mark.parametrize(
    ("message", "is_suspect"),
    [
        pytest.param("exit code 127: sh: 1: [[: not found", True, id="another-shell"),
        pytest.param("ModuleNotFoundError: No module named 'baked'", True, id="code-in-the-image"),
        pytest.param("python3: can't open file '/app/main.py'", True, id="file-in-the-image"),
        pytest.param("exit code 2: table: 1: set: Illegal option -o pipefail", True, id="option-of-another-shell"),
        pytest.param("exit code 2: sh: 1: Bad substitution", True, id="syntax-of-another-shell"),
        pytest.param("RuntimeError: No components found in `kfp_config.ini`", True, id="containerized-component"),
        pytest.param("RuntimeError: broken on purpose", False, id="its-own-fault"),
        pytest.param("timed out after 1 s", False, id="time"),
    ],
)
def test_a_failure_that_may_follow_from_the_image_says_so(message: Any, is_suspect: Any) -> None:
    assert ("alpine" in with_image(message, image_note("alpine"))) is is_suspect
    assert with_image(message, "") == message
