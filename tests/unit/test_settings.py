"""Settings come from the environment and a profile; unknown names are refused; secrets stay secret."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.core.errors import SettingsError
from ratchet.settings import (
    Settings,
    child_env,
    load_settings,
    parse_profile,
    settings_from_env,
    settings_of,
    variable_names,
    variables_set_in_env,
)

PROFILES = Path(__file__).parents[2] / "configs" / "profiles"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("RATCHET_"):
            monkeypatch.delenv(name)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        pytest.param(
            {"RATCHET_S3_ENDPONT": "x"}, "RATCHET_S3_ENDPONT is not a setting. Did you mean RATCHET_S3_END", id="typo"
        ),
        pytest.param({"ZZZ": "x"}, "ZZZ is not a setting. `ratchet doctor`", id="nothing-like-it"),
        pytest.param({"RATCHET_SENSOR_INTERVAL_S": "soon"}, "RATCHET_SENSOR_INTERVAL_S: .*number", id="not-a-number"),
        pytest.param(
            {"RATCHET_SENSOR_INTERVAL_S": "0"}, "RATCHET_SENSOR_INTERVAL_S: .*greater than 0", id="out-of-range"
        ),
        pytest.param({"RATCHET_TRAFFIC_STATS": "tea leaves"}, "RATCHET_TRAFFIC_STATS", id="not-one-of"),
    ],
)
def test_wrong_settings_are_refused_by_name(variables: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings_of(variables)


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param("# a comment\n\n  # another\n", {}, id="comments-and-blanks"),
        pytest.param("A=1\nB = two words \n", {"A": "1", "B": "two words"}, id="spaces-around"),
        pytest.param("A=b=c==\n", {"A": "b=c=="}, id="equals-in-the-value"),
        pytest.param("A=\n", {"A": ""}, id="no-value"),
        pytest.param("A=1\nA=2\n", {"A": "2"}, id="the-last-wins"),
    ],
)
def test_profile_lines(text: str, variables: dict[str, str]) -> None:
    assert parse_profile(text, where="p") == variables


def test_a_line_that_is_no_assignment_is_refused_with_its_number() -> None:
    with pytest.raises(SettingsError, match=r"some\.env, line 2: expected NAME=value, found 'export'"):
        parse_profile("A=1\nexport\n", where="some.env")


def test_the_environment_wins_over_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profile.env").write_text("RATCHET_NAMESPACE=from-file\nRATCHET_S3_ENDPOINT=http://file\n")
    monkeypatch.setenv("RATCHET_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("RATCHET_NAMESPACE", "from-env")
    settings = load_settings()
    assert (settings.namespace, settings.s3_endpoint) == ("from-env", "http://file")
    assert settings_from_env().s3_endpoint == "", "`ratchet up` must not read the profile that it writes"
    assert set(variables_set_in_env()) == {"RATCHET_STATE_DIR", "RATCHET_NAMESPACE"}


def test_a_setting_survives_the_way_through_a_profile() -> None:
    settings = settings_of({"RATCHET_S3_SECRET_KEY": "a=b#c", "RATCHET_SENSOR_INTERVAL_S": "0.5"})
    text = "\n".join(f"{name}={value}" for name, value in settings.as_env().items())
    assert settings_of(parse_profile(text, where="p")) == settings
    assert tuple(settings.as_env()) == variable_names()


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(
        settings_of({"RATCHET_S3_SECRET_KEY": "hunter2", "RATCHET_KUBERNETES_TOKEN": "hunter2"})
    )


def test_a_missing_setting_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match=r"RATCHET_S3_ENDPOINT is not set.*ratchet up"):
        Settings().require("s3_endpoint")


def test_children_inherit_no_settings_and_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RATCHET_S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_URI", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "leak")
    monkeypatch.setenv("HOME", "/home/me")
    env = child_env({"MINE": "1"})
    assert "leak" not in env.values()
    assert (env["HOME"], env["MINE"]) == ("/home/me", "1")


@pytest.mark.parametrize("name", ["embedded", "cluster"])
def test_the_example_profiles_hold_known_settings(name: str) -> None:
    path = PROFILES / f"{name}.env"
    variables = parse_profile(path.read_text(), where=str(path))
    settings_of(variables)
    optional = {"RATCHET_STATE_DIR", "RATCHET_GIT_COMMIT"}
    assert set(variable_names()) - set(variables) <= optional, "an example that leaves a setting out teaches nothing"
