"""What the control plane and Ratchet agree on without importing each other."""

import pytest

from embedded.control_plane.engine.failure_text import CODES_OF_EXCEPTION
from embedded.control_plane.host.child_env import child_env
from embedded.control_plane.kserve.commands import MODEL_DIGEST_VARIABLE, RATCHET_PREFIX, REFUSED_EXIT_CODE
from ratchet import settings
from ratchet.core.errors import DataRejected, RatchetError


def test_exit_codes_are_those_of_the_librarys_errors() -> None:
    assert {1, *(error.exit_code for error in RatchetError.__subclasses__())} == CODES_OF_EXCEPTION
    assert DataRejected.exit_code == REFUSED_EXIT_CODE


def test_variables_of_a_model_server_have_the_names_that_it_reads() -> None:
    assert (settings.PREFIX, settings.MODEL_DIGEST_VARIABLE) == (RATCHET_PREFIX, MODEL_DIGEST_VARIABLE)


@pytest.mark.parametrize("path", ["/usr/bin:/bin", ""])
def test_both_products_keep_the_same_variables_from_their_children(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RATCHET_S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_TOKEN", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PATH", path)
    assert child_env({"MINE": "1"}) == settings.child_env({"MINE": "1"})
