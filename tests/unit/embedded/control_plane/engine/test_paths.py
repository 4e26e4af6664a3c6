"""Mount paths, pipeline roots and pip calls in commands: text in, decision out."""

from pathlib import Path

import pytest

from embedded.control_plane.engine.mounts import Mount, check_mount_paths, with_folders, with_mount_paths
from embedded.control_plane.engine.pip_calls import environment_key, has_nested_venv, pip_needs_of, without_nested_venv
from embedded.control_plane.engine.roots import Root, check_root, root_of
from embedded.control_plane.errors import DataRejected

MOUNTS = [Mount("/data", Path("/v/data"), "claim"), Mount("/data/keys", Path("/v/keys"), "Secret")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("/data", "/v/data", id="itself"),
        pytest.param("cat /data/a > '/data/b'", "cat /v/data/a > '/v/data/b'", id="below-it"),
        pytest.param("/data/keys/token", "/v/keys/token", id="the-longest-wins"),
        pytest.param("/database /data2 /data-x /data.txt", "/database /data2 /data-x /data.txt", id="other-names"),
        pytest.param("/srv/data s3://data ./data", "/srv/data s3://data ./data", id="not-at-the-start"),
        pytest.param('{"path": "/data/x"}', '{"path": "/v/data/x"}', id="in-json"),
        pytest.param("--in=/data:/data/keys", "--in=/v/data:/v/keys", id="in-options"),
    ],
)
def test_folder_takes_the_place_of_the_mount_path(text, expected):
    assert with_folders(text, MOUNTS) == expected


@pytest.mark.parametrize(("_", "text"), [("", "/data/a"), ("", "/data/keys"), ("", "see /data: /data/keys/b.")])
def test_output_names_the_mount_path_not_the_folder(_, text):
    assert with_mount_paths([{"a": with_folders(text, MOUNTS)}, 1], MOUNTS) == [{"a": text}, 1]


@pytest.mark.parametrize(
    "paths",
    [
        pytest.param(["data"], id="relative"),
        pytest.param(["/"], id="everything"),
        pytest.param(["/a/../../etc"], id="upwards"),
        pytest.param(["/a", "/a"], id="twice"),
    ],
)
def test_mount_path_that_cannot_be_is_refused(paths):
    with pytest.raises(DataRejected, match="executor x"):
        check_mount_paths(paths, where="executor x")


def test_root_is_a_folder_below_the_data_folder_or_an_s3_prefix(tmp_path):
    assert root_of("", data_dir=tmp_path) == Root(tmp_path / "artifacts")
    assert root_of(f"file://{tmp_path}/a", data_dir=tmp_path) == Root(tmp_path / "a")
    assert root_of("s3://bucket/a/", data_dir=tmp_path) == Root(tmp_path / "artifacts", "s3://bucket/a")
    assert root_of("minio://bucket/a", data_dir=tmp_path) == Root(tmp_path / "artifacts", "minio://bucket/a")
    assert root_of("s3://bucket", data_dir=tmp_path).joined("p", "r").uri == "s3://bucket/p/r"


@pytest.mark.parametrize("root", ["/etc", "file:///tmp", "{data}/../elsewhere", "{data}evil"])
def test_local_root_outside_the_data_folder_is_refused(root, tmp_path):
    with pytest.raises(DataRejected, match="data folder"):
        root_of(root.format(data=tmp_path), data_dir=tmp_path)


@pytest.mark.parametrize(
    "root", ["gs://b/x", "relative", "s3://", "s3://B/x", "minio://B/x", "s3://bucket/a?region=x", "s3://bucket/../x"]
)
def test_root_that_is_none_is_refused_by_name(root):
    with pytest.raises(DataRejected, match="pipeline_root"):
        check_root(root)


PREFIX = "PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-warn-script-location "
KFP_ITSELF = (
    "&&  python3 -m pip install --quiet --no-warn-script-location 'kfp==2.16.1' '--no-deps' "
    '\'typing-extensions>=3.7.4,<5; python_version<"3.9"\' && "$0" "$@"\n'
)


def needs(*words: str, installed: tuple[str, ...] = ()):
    return pip_needs_of(words, is_installed=lambda text: text in installed)


def test_packages_to_install_and_their_options_are_read_from_the_command():
    found = needs(
        f"{PREFIX}--index-url https://h/simple --trusted-host h 'a==1' 'b @ https://h/b.whl?x=1&y=2' && \"$0\""
    )
    assert [call.requirements for call in found.calls] == [("a==1", "b @ https://h/b.whl?x=1&y=2")]
    assert found.calls[0].options == ("--index-url", "https://h/simple", "--trusted-host", "h")
    assert not found.is_open


def test_kfp_itself_is_a_requirement_like_another():
    installed = ("kfp==2.16.1", 'typing-extensions>=3.7.4,<5; python_version<"3.9"')
    assert needs(f"{PREFIX}'a' {KFP_ITSELF}", installed=installed).names == "a"
    assert needs(f"{PREFIX}'a' {KFP_ITSELF}").names.startswith("a, kfp==2.16.1")
    assert needs(f"{PREFIX}'a' {KFP_ITSELF}", installed=("a", *installed)).is_nothing


@pytest.mark.parametrize(
    ("word", "is_open"),
    [
        pytest.param("pip install -r requirements.txt && python3 main.py", True, id="a-command-of-its-own"),
        pytest.param(f"{PREFIX}-r requirements.txt && x", True, id="a-file-of-requirements"),
        pytest.param("python3 -m pip install a", True, id="another-way-to-write-it"),
        pytest.param('run([sys.executable, "-m", "pip", "install", "a"])', True, id="in-source-code"),
        pytest.param("python3 main.py", False, id="no-pip"),
        pytest.param(f"{PREFIX}'a' && x", False, id="kfps-way"),
    ],
)
def test_call_that_cannot_be_foreseen_gets_an_environment_for_itself(word, is_open):
    assert needs(word).is_open is is_open


def test_same_requirements_make_the_same_environment_in_any_order():
    one, other = needs(f"{PREFIX}'a' 'b'"), needs(f"{PREFIX}'b' 'a'")
    assert environment_key(one.calls, python="3.11") == environment_key(other.calls, python="3.11")
    assert environment_key(one.calls, python="3.11") != environment_key(one.calls, python="3.12")
    assert environment_key(one.calls, python="3.11") != environment_key(needs(f"{PREFIX}'a'").calls, python="3.11")


NESTED_VENV = """export PIP_DISABLE_PIP_VERSION_CHECK=1
tmp=$(mktemp -d)
python3 -m venv "$tmp/venv" --system-site-packages
. "$tmp/venv/bin/activate"
"""
"""What kfp.dsl.component_factory writes for use_venv=True."""


def test_use_venv_is_left_out_of_the_command_and_the_rest_stays():
    words = ("sh", "-c", f"{PREFIX}'a==1' && {NESTED_VENV}{KFP_ITSELF}")
    assert has_nested_venv(words)
    left = without_nested_venv(words)
    assert not has_nested_venv(left)
    assert "venv" not in left[2]
    assert left[2].startswith(f"{PREFIX}'a==1' && export")
    assert left[2].endswith(KFP_ITSELF)
    assert needs(*words) == needs(*left), "what it installs gets an environment all the same"
    assert not has_nested_venv(("sh", "-c", "python3 -m venv mine"))
