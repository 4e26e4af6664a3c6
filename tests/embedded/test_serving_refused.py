"""A model that is not what its URI names: refused before it runs, told at the gateway, served when it is cured."""

import shutil
from pathlib import Path

import pytest

from embedded.control_plane.kserve.commands import cause_in
from embedded.control_plane.kserve.models import StoredFile, is_intact
from ratchet.core.digest import digest_of_bytes
from ratchet.settings import Settings
from tests.embedded.serving_world import COLLECTION, PROJECT_DIR, isvc_body, serving_world, wait_for
from tests.models import digits_model

BODY = {"instances": [[0.0] * 64]}


@pytest.mark.stack
def test_a_model_that_was_changed_in_the_bucket_serves_only_once_it_is_restored(
    s3_settings: Settings, tmp_path: Path
) -> None:
    digest = digits_model(tmp_path / "good")
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    code = tmp_path / "bad" / "code" / "ratchet" / "tasks" / "digits.py"
    code.write_text(code.read_text().replace("(high - low)", "(low - high)"))
    with serving_world(s3_settings, runtimes_dir=PROJECT_DIR / "deploy" / "base") as world:
        unknown = world.user.post("/v1/models/digits:predict", json=BODY)
        assert unknown.status_code == 404 and "error" in unknown.json()
        uri = world.put_directory(tmp_path / "bad", digest)
        world.api.post(COLLECTION, json=isvc_body("digits", uri)).raise_for_status()
        message = wait_for(lambda: _failure_of(world), "the model to be refused")
        first = message.partition("\n")[0]
        assert f"model digits {digest[:12]} was expected" in first and "digits.py has changed" in first
        refused = world.user.post("/v1/models/digits:predict", json=BODY)
        assert refused.status_code == 503 and refused.headers["content-type"] == "application/json"
        assert refused.json()["error"].startswith("digits does not serve: digits-predictor-00001: ")
        assert digest[:12] in refused.json()["error"]
        assert "digits" in world.user.get("/v1/models/other").json()["error"]

        world.put_directory(tmp_path / "good", digest)
        answer = wait_for(lambda: _answered(world.user.post("/v1/models/digits:predict", json=BODY)), "it to be cured")
        assert answer.json()["model_digest"] == digest


def _failure_of(world):
    if not world.isvc("digits").get("status"):
        return ""
    condition = world.condition("digits")
    return condition["message"] if condition["status"] == "False" else ""


def _answered(response):
    return response if response.status_code == 200 else None


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param("INFO a: x\nERROR __main__: no weights\nINFO b: y", "no weights", id="error-line"),
        pytest.param("ERROR a.b: first\nERROR a.b: second", "second", id="the-last-error"),
        pytest.param("Traceback\n  File x\nValueError: no\n", "ValueError: no", id="traceback"),
        pytest.param("", "", id="silence"),
    ],
)
def test_the_cause_is_the_servers_own_last_word(text: str, cause: str) -> None:
    assert cause_in(text) == cause


def test_a_folder_that_differs_from_the_object_store_is_known(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_bytes(b"abc")
    files = [StoredFile("code/a.py", 3, "900150983cd24fb0d6963f7d28e17f72")]
    assert is_intact(tmp_path, files)
    assert is_intact(tmp_path, [StoredFile("code/a.py", 3, f"{digest_of_bytes(b'')[:32]}-2")])
    (tmp_path / "code" / "a.py").write_bytes(b"abd")
    assert not is_intact(tmp_path, files)
    (tmp_path / "code" / "a.py").write_bytes(b"abc")
    (tmp_path / "code" / "b.py").write_bytes(b"")
    assert not is_intact(tmp_path, files)
    assert not is_intact(tmp_path, [*files, StoredFile("c", 1, "")])
