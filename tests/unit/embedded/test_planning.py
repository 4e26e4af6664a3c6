"""What a stack will be, before anything is started."""

import itertools
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from embedded import object_store
from embedded.control_plane.host.processes import free_port
from embedded.credentials import Credentials, load_or_make_credentials
from embedded.gateway import render_bootstrap, render_no_routes
from embedded.layout import Layout, make_socket_dir, remove_socket_dir, write_private
from embedded.object_store import render_identities, render_security_toml
from embedded.planning import (
    ALL_SERVICES,
    Site,
    plan_serving_secret,
    plan_settings,
    plan_stack,
    render_kubeconfig,
    render_profile,
)
from embedded.ports import StackPorts, plan_ports, random_ports
from embedded.store_identity import is_whole, make_identity, render_identity
from embedded.supervisor import backoff_s
from ratchet.adapters.ec_keys import EcSigner, EcTrustedKeys
from ratchet.core.errors import SettingsError
from ratchet.settings import Settings, parse_profile, settings_of

CREDENTIALS = Credentials()
USUAL = StackPorts()


def site(services: tuple[str, ...] = ALL_SERVICES) -> Site:
    return Site(
        layout=Layout(state_dir=Path("/state")),
        project_dir=Path("/project"),
        ports=USUAL,
        credentials=CREDENTIALS,
        socket_dir=Path("/state/run"),
        services=services,
    )


def ports(remembered: dict[str, int], *, is_free: Callable[[int], bool]) -> StackPorts:
    return plan_ports(remembered=remembered, is_free=is_free, candidates=itertools.count(20_000))


@pytest.mark.parametrize(
    ("remembered", "taken", "mlflow"),
    [
        pytest.param({}, set(), 15000, id="the-usual"),
        pytest.param({"mlflow": 21_000}, set(), 21_000, id="that-of-the-last-start"),
        pytest.param({"mlflow": 21_000}, {21_000}, 15000, id="remembered-is-taken"),
        pytest.param({}, {15000}, 20_008, id="usual-is-taken"),
        pytest.param({}, {15000, 20_008}, 20_009, id="first-candidate-is-taken"),
        pytest.param({"mlflow": 17000}, set(), 17000, id="remembered-is-anothers-usual"),
    ],
)
def test_ports_in_order_of_preference(remembered: dict[str, int], taken: set[int], mlflow: int) -> None:
    assert ports(remembered, is_free=lambda port: port not in taken).mlflow == mlflow


@given(
    remembered=st.dictionaries(st.sampled_from(sorted(StackPorts.model_fields)), st.integers(15_000, 15_010)),
    taken=st.sets(st.integers(15_000, 30_000), max_size=50) | st.just(set(dict(USUAL).values())),
)
def test_ports_are_free_and_distinct(remembered: dict[str, int], taken: set[int]) -> None:
    chosen = [port for _, port in ports(remembered, is_free=lambda port: port not in taken)]
    assert len(set(chosen)) == len(chosen)
    assert not set(chosen) & taken


@pytest.mark.parametrize(
    ("remembered", "taken", "admin"),
    [
        pytest.param({}, set(), None, id="fresh"),
        pytest.param({"weed_admin": 18_646, "weed_admin_grpc": 28_646}, set(), 18_646, id="that-of-the-last-start"),
        pytest.param({"weed_admin": 20_500, "weed_admin_grpc": 24_000}, set(), 20_500, id="a-pair-that-never-met"),
        pytest.param({"weed_admin": 18_646}, {28_646}, None, id="the-other-half-is-taken"),
        pytest.param({"weed_admin": 30_000}, set(), None, id="the-other-half-would-be-an-outgoing-port"),
    ],
)
def test_the_worker_of_the_object_store_finds_its_admin(
    remembered: dict[str, int], taken: set[int], admin: int | None
) -> None:
    chosen = ports(remembered, is_free=lambda port: port not in taken)
    assert chosen.weed_admin_grpc == chosen.weed_admin + 10_000 < 32_768
    assert admin is None or chosen.weed_admin == admin


def test_inner_ports_have_no_usual_number() -> None:
    first, second = (plan_ports(remembered={}, is_free=lambda port: True, candidates=random_ports()) for _ in range(2))
    inner = {port for port in first.of_seaweed() if port != first.s3}
    assert len(inner) == 9 and len(inner & set(second.of_seaweed())) < 5
    assert (first.s3, second.s3) == (18333, 18333)


def test_a_port_is_not_used_while_another_user_holds_the_name_of_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "SOCKET_DIR", tmp_path)
    port = free_port()
    (tmp_path / f"seaweedfs-filer-grpc-{port}.sock").touch()
    assert object_store.is_port_usable(port), "a leftover of ours is removed"
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert not object_store.is_port_usable(port)


@given(st.integers(0, 10_000))
def test_backoff_grows_and_is_bounded(failures: int) -> None:
    assert 0.2 <= backoff_s(failures) <= backoff_s(failures + 1) <= 15.0


def test_no_credential_is_on_a_command_line() -> None:
    plan = plan_stack(plan_settings(Settings(), site()), site())
    commands = json.dumps([service.command for service in plan.services])
    secrets = (CREDENTIALS.s3.secret_key, CREDENTIALS.mlflow_s3.secret_key, CREDENTIALS.kubernetes_token)
    assert not any(secret in commands for secret in (*secrets, *CREDENTIALS.weed_signing_keys))
    assert not any(secret in repr(plan) for secret in secrets), "a plan may be logged"


def test_every_server_has_its_own_log_and_port_and_known_dependencies() -> None:
    plan = plan_stack(plan_settings(Settings(), site()), site())
    assert [service.name for service in plan.services] == list(ALL_SERVICES)
    assert len({service.port for service in plan.services}) == len({service.log for service in plan.services}) == 6
    assert all(set(service.depends_on) <= set(ALL_SERVICES) for service in plan.services)


def test_a_part_of_the_stack_waits_for_no_absent_server() -> None:
    part = site(services=("sensor",))
    settings = plan_settings(Settings(), part)
    (sensor,) = plan_stack(settings, part).services
    assert sensor.depends_on == ()
    assert (settings.s3_endpoint, settings.sensor_endpoint) == ("", "http://127.0.0.1:18900")


def test_a_profile_holds_the_settings_with_absolute_paths() -> None:
    base = Settings(sensor_interval_s=0.25)
    settings = plan_settings(base, site())
    assert settings_of(parse_profile(render_profile(settings), where="p")) == settings
    assert settings.sensor_interval_s == 0.25, "what the user set is kept"
    assert (settings.state_dir, settings.configs_dir) == (Path("/state"), Path("/project/configs"))
    assert settings.envoy_admin_endpoint == "unix:///state/run/admin.sock"


def test_kubeconfig_names_server_and_token() -> None:
    config = yaml.safe_load(render_kubeconfig(plan_settings(Settings(), site())))
    token = CREDENTIALS.kubernetes_token
    assert config["clusters"][0]["cluster"]["server"] == f"http://ratchet:{token}@127.0.0.1:18800"
    assert config["users"][0]["user"]["token"] == CREDENTIALS.kubernetes_token


def test_mlflow_and_the_model_servers_may_use_what_is_theirs_only() -> None:
    (ours, mlflow, serving) = render_identities(CREDENTIALS, ratchet_bucket="records")["identities"]
    assert "Admin" in ours["actions"]
    assert {action.partition(":")[2] for action in mlflow["actions"]} == {"mlflow"}
    assert serving["actions"] == ["Write:records/payloads/*"]
    images = render_identities(CREDENTIALS, ratchet_bucket="records", image_buckets={"scans"})["identities"][2]
    assert images["actions"] == ["Write:records/payloads/*", "Read:scans", "List:scans"]


def test_the_model_servers_get_a_key_of_their_own() -> None:
    settings = plan_settings(Settings(payload_sample_ratio=0.5), site())
    secret = plan_serving_secret(settings, CREDENTIALS)
    assert secret["RATCHET_S3_SECRET_KEY"] == CREDENTIALS.serving_s3.secret_key
    assert secret["RATCHET_S3_ENDPOINT"] == settings.s3_endpoint and secret["RATCHET_PAYLOAD_SAMPLE_RATIO"] == "0.5"
    assert not set(secret.values()) & {CREDENTIALS.s3.secret_key, CREDENTIALS.s3.access_key}
    assert secret["RATCHET_TRUSTED_KEYS_FILE"] == "/state/trusted_keys.pem"
    assert "RATCHET_SIGNING_KEY_FILE" not in secret, "a model server checks signatures, and makes none"


def test_a_stack_signs_with_a_key_of_its_own_unless_one_is_set(tmp_path: Path) -> None:
    settings = plan_settings(Settings(), site())
    assert (settings.signing_key_file, settings.trusted_keys_file) == (
        "/state/signing_key.pem",
        "/state/trusted_keys.pem",
    )
    assert plan_settings(Settings(signing_key_file="/mine.pem"), site()).signing_key_file == "/mine.pem"
    write_private(tmp_path / "key.pem", CREDENTIALS.signing_key)
    write_private(tmp_path / "keys.pem", CREDENTIALS.trusted_keys())
    written = Settings(signing_key_file=str(tmp_path / "key.pem"), trusted_keys_file=str(tmp_path / "keys.pem"))
    signer, trusted = EcSigner.of(written), EcTrustedKeys.of(written)
    assert signer is not None and trusted is not None
    assert trusted.find_trouble(b"x", signer.sign(b"x"), key_hint=signer.key_hint) == ""
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(CREDENTIALS)


def test_each_port_of_the_object_store_has_a_key_of_its_own() -> None:
    parsed = tomllib.loads(render_security_toml(CREDENTIALS))
    keys = {parsed["jwt"][kind]["key"] for kind in ("signing", "filer_signing")}
    keys |= {parsed["jwt"][kind]["read"]["key"] for kind in ("signing", "filer_signing")}
    assert keys == set(CREDENTIALS.weed_signing_keys)


def test_every_part_of_the_object_store_asks_for_its_identity() -> None:
    parsed = tomllib.loads(render_security_toml(CREDENTIALS))
    assert parsed["grpc"]["ca"] and all(
        part["cert"] and part["key"] for name, part in parsed["grpc"].items() if name != "ca"
    )
    servers = {name: part for name, part in parsed["https"].items() if name != "client"}
    assert set(servers) == {"master", "volume", "filer", "admin"}
    assert all(part["cert"] and part["key"] and part["ca"] for part in parsed["https"].values())


def test_an_identity_is_made_once_and_again_when_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "identity.pem"
    make_identity(path)
    made = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    make_identity(path)
    assert path.read_bytes() == made, "a running store goes on with it"
    of_another = render_identity().encode()
    key, certificate = made.split(b"-----END PRIVATE KEY-----\n")
    for damaged in (b"", made[:200], key, certificate, of_another.split(b"-----BEGIN CERT")[0] + certificate):
        path.write_bytes(damaged)
        make_identity(path)
        assert is_whole(path.read_bytes()) and path.read_bytes() != damaged


def test_the_gateway_listens_on_loopback_and_its_admin_on_a_private_socket() -> None:
    layout, socket = Layout(state_dir=Path("/state")), Path("/state/run/admin.sock")
    bootstrap = render_bootstrap(layout, Settings(), ports=StackPorts(gateway=17000), admin_socket=socket)
    assert bootstrap["admin"]["address"] == {"pipe": {"path": "/state/run/admin.sock", "mode": 0o600}}
    (listener,) = bootstrap["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 17000}
    assert render_no_routes()["resources"][0]["name"] == "model_routes"


def test_credentials_differ_each_time() -> None:
    assert Credentials().s3 != Credentials().s3


def test_credentials_that_cannot_be_read_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text("{half")
    with pytest.raises(SettingsError, match=r"credentials\.json"):
        load_or_make_credentials(path)
    assert path.read_text() == "{half"


def test_private_files_are_private(tmp_path: Path) -> None:
    write_private(tmp_path / "folder" / "file", "secret")
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("depth", [pytest.param(1, id="short-path"), pytest.param(6, id="path-too-long-for-a-socket")])
def test_sockets_get_a_short_private_folder(tmp_path: Path, depth: int) -> None:
    layout = Layout(state_dir=tmp_path.joinpath(*["a-rather-long-folder-name"] * depth))
    layout.state_dir.mkdir(parents=True)
    folder = make_socket_dir(layout)
    assert len(str(folder)) <= 70
    assert folder.stat().st_mode & 0o777 == 0o700
    assert make_socket_dir(layout) == folder, "it stays the same until the stack is stopped"
    remove_socket_dir(layout)
    assert not folder.exists()
    assert not layout.sockets.is_symlink()


def test_credentials_of_an_earlier_version_get_what_they_lack_once(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    earlier = json.loads(Credentials().model_dump_json())
    del earlier["kfp_token"]
    path.write_text(json.dumps(earlier))
    first = load_or_make_credentials(path)
    assert first.kfp_token and load_or_make_credentials(path) == first
    assert first.model_dump(mode="json", exclude={"kfp_token"}) == earlier
