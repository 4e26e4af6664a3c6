"""Settings come from the environment and a profile; unknown names are refused; secrets stay secret."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.core.errors import SettingsError
from ratchet.settings import (
    Settings,
    child_env,
    load_settings,
    parse_profile,
    render_variables,
    settings_from_env,
    settings_of,
    variable_names,
    variables_set_in_env,
)
from tests.conftest import PROJECT_DIR

PROFILES = PROJECT_DIR / "configs" / "profiles"


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


ODD_FOLDERS = [
    pytest.param("plain", id="plain"),
    pytest.param("two  words ", id="blanks"),
    pytest.param("it's", id="quote"),
    pytest.param('say "$HOME" `id` \\ #1 & ; * ~', id="what-a-shell-would-act-on"),
    pytest.param("été 日本 \u2028\x85", id="other-scripts-and-line-separators"),
    pytest.param("'quoted'", id="in-quotes"),
    pytest.param("~", id="tilde"),
    pytest.param("tab\tand\rreturn", id="control-characters"),
    pytest.param("", id="empty"),
]


@pytest.mark.parametrize("folder", ODD_FOLDERS)
def test_a_profile_is_read_alike_by_us_and_by_a_shell(folder: str, tmp_path: Path) -> None:
    variables = {"RATCHET_STATE_DIR": folder, "RATCHET_S3_SECRET_KEY": "a=b#c"}
    profile = tmp_path / "profile.env"
    profile.write_text(f"# head\n{render_variables(variables)}")
    assert parse_profile(profile.read_bytes().decode(), where="p") == variables
    sourced = subprocess.run(
        ["sh", "-c", f"set -a; . '{profile}'; env -0"],
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    found = dict(each.split("=", 1) for each in sourced.stdout.decode().split("\0") if each)
    assert {name: found[name] for name in variables} == variables


@pytest.mark.parametrize("folder", ["plain", "été-日本", "/a/b_c.d,e@f%g+h=i:j"])
def test_a_value_of_plain_characters_is_bare_as_docker_takes_it(folder: str) -> None:
    assert render_variables({"A": folder}) == f"A={folder}\n"


@pytest.mark.parametrize("folder", ["a\nb", "a\0b"])
def test_a_value_that_no_line_holds_is_refused(folder: str) -> None:
    with pytest.raises(SettingsError, match="RATCHET_STATE_DIR holds a line break or a NUL"):
        render_variables({"RATCHET_STATE_DIR": folder})


def test_values_of_older_profiles_are_read_as_they_stand() -> None:
    text = "A=/home/my folder\nB=/home/o'neil\nC=it's\\ here\nexport D=x\r\nE='a' 'b'\n"
    expected = {"A": "/home/my folder", "B": "/home/o'neil", "C": "it's\\ here", "D": "x", "E": "'a' 'b'"}
    assert parse_profile(text, where="p") == expected


@pytest.mark.parametrize(
    ("moved", "configs"),
    [
        pytest.param("elsewhere/project/.ratchet", "elsewhere/project/configs", id="with-its-project"),
        pytest.param("elsewhere/state", "project/configs", id="alone"),
        pytest.param("project/.ratchet", "project/configs", id="not-at-all"),
    ],
)
def test_a_state_folder_that_was_moved_is_read_where_it_is(
    moved: str, configs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "project" / ".ratchet", tmp_path / moved
    (tmp_path / configs).mkdir(parents=True)
    new.mkdir(parents=True)
    variables = {
        "RATCHET_STATE_DIR": str(old),
        "RATCHET_CONFIGS_DIR": str(tmp_path / "project" / "configs"),
        "RATCHET_DATASET_REPO": str(old / "datasets.git"),
        "RATCHET_S3_ENDPOINT": "http://127.0.0.1:1",
    }
    (new / "profile.env").write_text(render_variables(variables))
    monkeypatch.setenv("RATCHET_PROFILE", str(new / "profile.env"))
    settings = load_settings()
    assert (settings.state_dir, settings.dataset_repo) == (new, str(new / "datasets.git"))
    assert settings.configs_dir == tmp_path / configs and settings.s3_endpoint == "http://127.0.0.1:1"


def test_a_copy_of_a_profile_names_the_stack_that_it_was_copied_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = render_variables({"RATCHET_STATE_DIR": str(tmp_path / "state")})
    for folder in ("state", "copies"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "profile.env").write_text(text)
    monkeypatch.setenv("RATCHET_PROFILE", str(tmp_path / "copies" / "profile.env"))
    assert load_settings().state_dir == tmp_path / "state"


def test_a_profile_that_is_no_text_is_a_settings_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profile.env").write_bytes(b"RATCHET_NAMESPACE=\xe9\n")
    monkeypatch.setenv("RATCHET_STATE_DIR", str(tmp_path))
    with pytest.raises(SettingsError, match=r"profile\.env cannot be read"):
        load_settings()


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


def test_a_profile_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load_settings.cache_clear()
    assert load_settings().s3_endpoint == ""
    monkeypatch.setenv("RATCHET_PROFILE", "elsewhere.env")
    load_settings.cache_clear()
    with pytest.raises(SettingsError, match=r"elsewhere\.env cannot be read: No such file.*Correct RATCHET_PROFILE"):
        load_settings()
    monkeypatch.delenv("RATCHET_PROFILE")
    load_settings.cache_clear()
