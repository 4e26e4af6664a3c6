"""How the adapters find an API server and prove who they are: CA files, kubeconfigs, plugins; over real TLS."""

import base64
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet.adapters.exec_credentials import ExecPlugin
from ratchet.adapters.kubeconfig import load_access
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.core.errors import SettingsError
from ratchet.settings import Settings, settings_of
from tests.tls_world import Pair, TlsServer, issue, tls_server

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def ca() -> Pair:
    return issue("cluster-ca")


@pytest.fixture(scope="module")
def server(ca: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with tls_server(issue("kubernetes", by=ca, host="127.0.0.1"), tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


def pem_file(folder: Path, text: str, name: str = "ca.pem") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def ask(settings: Settings) -> None:
    KubernetesApi.of(settings).request("GET", "/version")


def by_endpoint(url: str, ca_file: str = "") -> Settings:
    names = {"RATCHET_KUBERNETES_ENDPOINT": url, "RATCHET_KUBERNETES_TOKEN": "t0ken"}
    return settings_of({**names, "RATCHET_KUBERNETES_CA_FILE": ca_file})


def config(server: str, *, cluster: Any = None, user: Any = None, name: str = "c", **more: Any) -> dict[str, Any]:
    return {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": name, "user": user or {"token": "of-the-file"}}],
        **more,
    }


def write(folder: Path, document: Mapping[str, Any], name: str = "config") -> str:
    (folder / name).write_text(yaml.safe_dump(document))
    return str(folder / name)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_ca_file_makes_a_cluster_with_its_own_ca_known(server: TlsServer, ca: Pair, tmp_path: Path):
    path = pem_file(tmp_path, f"# Zertifikat für den Würfel\n{ca.certificate_pem}")
    ask(by_endpoint(server.url, path))
    assert server.seen[-1] == "Bearer t0ken"


def test_ssl_cert_file_is_honoured(server: TlsServer, ca: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", pem_file(tmp_path, ca.certificate_pem))
    ask(by_endpoint(server.url))


@pytest.mark.parametrize(
    ("host", "days", "has_ca", "words"),
    [
        pytest.param("127.0.0.1", 7, False, ["unable to get local issuer", "RATCHET_KUBERNETES_CA_FILE"], id="no-ca"),
        pytest.param("127.0.0.1", -1, True, ["expired", "Renew it"], id="expired"),
        pytest.param("api.example.com", 7, True, ["mismatch", "Use one of its names"], id="another-name"),
    ],
)
def test_a_certificate_error_says_which_one_and_what_to_set_and_is_not_tried_again(
    host: str, days: int, has_ca: bool, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ca = issue("own-ca")
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it was tried again"))
    with (
        tls_server(issue("api", by=ca, host=host, days=days), tmp_path) as server,
        pytest.raises(SettingsError) as caught,
    ):
        ask(by_endpoint(server.url, pem_file(tmp_path, ca.certificate_pem) if has_ca else ""))
    for word in [*words, "subject CN=api", "issuer CN=own-ca", f"for {host}"]:
        assert word in str(caught.value)


def test_the_wrong_ca_is_named_by_its_file(server: TlsServer, tmp_path: Path):
    path = pem_file(tmp_path, issue("another").certificate_pem)
    with pytest.raises(SettingsError, match=rf"checked against {path} \(RATCHET_KUBERNETES_CA_FILE\)"):
        ask(by_endpoint(server.url, path))


def test_a_ca_file_that_is_none_is_named(tmp_path: Path):
    for path, words in ((str(tmp_path / "gone"), "cannot be read"), (pem_file(tmp_path, "hello"), "no PEM")):
        with pytest.raises(SettingsError, match=f"RATCHET_KUBERNETES_CA_FILE names {path}, which .*{words}"):
            ask(by_endpoint("https://127.0.0.1:9", path))


def test_http_behind_an_https_endpoint_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    plain = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        with pytest.raises(SettingsError, match="speaks https"):
            ask(by_endpoint(f"https://127.0.0.1:{plain.server_address[1]}"))
    finally:
        plain.shutdown()
        plain.server_close()


@pytest.mark.parametrize("is_data", [True, False], ids=["data", "files"])
def test_a_kubeconfig_with_a_client_certificate(is_data: bool, tmp_path: Path):
    ca = issue("cluster-ca")
    me = issue("me", by=ca)
    parts = {
        "certificate-authority": ca.certificate_pem,
        "client-certificate": me.certificate_pem,
        "client-key": me.key_pem,
    }
    if is_data:
        entries = {f"{key}-data": b64(text) for key, text in parts.items()}
    else:
        entries = {key: Path(pem_file(tmp_path, text, key)).name for key, text in parts.items()}
    cluster = {key: value for key, value in entries.items() if key.startswith("certificate")}
    user = {key: value for key, value in entries.items() if key.startswith("client")}
    with tls_server(issue("api", by=ca, host="127.0.0.1"), tmp_path, client_ca=ca) as server:
        path = write(tmp_path, config(server.url, cluster=cluster, user=user))
        ask(Settings(kubeconfig=path))
        assert "'me'" in server.seen[-1]
        stranger = issue("stranger", by=issue("elsewhere"))
        theirs = {"client-certificate-data": b64(stranger.certificate_pem), "client-key-data": b64(stranger.key_pem)}
        other = write(tmp_path, config(server.url, cluster=cluster, user=theirs), "other")
        with pytest.raises(SettingsError, match="refuses our client certificate"):
            ask(Settings(kubeconfig=other))


def test_of_several_kubeconfigs_the_first_counts_and_missing_ones_are_skipped(tmp_path: Path):
    first = {"current-context": "b", "users": [{"name": "b", "user": {"token": "first"}}]}
    second = {**config("https://a:1", name="a"), "users": [{"name": "b", "user": {"token": "second"}}]}
    third = config("https://b:2", name="b")
    paths = [write(tmp_path, each, str(number)) for number, each in enumerate((first, second, third))]
    joined = os.pathsep.join([str(tmp_path / "gone"), *paths])
    access = load_access(joined, context="", is_insecure=False)
    assert (access.endpoint, access.credential().authorization) == ("https://b:2", "Bearer first")
    with pytest.raises(SettingsError, match=r"no user 'a'. Known: b"):
        load_access(joined, context="a", is_insecure=False)
    with pytest.raises(SettingsError, match=r"no context 'z'. Known: a, b. RATCHET_KUBERNETES_CONTEXT"):
        load_access(joined, context="z", is_insecure=False)


def test_the_variable_of_kubectl_is_read_only_where_no_endpoint_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", write(tmp_path, config("http://127.0.0.1:1")))
    assert KubernetesApi.of(Settings()).url == "http://127.0.0.1:1"
    assert KubernetesApi.of(by_endpoint("http://127.0.0.1:2")).url == "http://127.0.0.1:2"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    with pytest.raises(SettingsError, match=r"no kubeconfig at .*gone"):
        KubernetesApi.of(Settings())


def test_a_token_file_is_read_anew_at_each_request(tmp_path: Path):
    (tmp_path / "token").write_text("one\n")
    access = load_access(
        write(tmp_path, config("https://c:1", user={"tokenFile": "token", "token": "old"})),
        context="",
        is_insecure=False,
    )
    assert access.credential().authorization == "Bearer one"
    (tmp_path / "token").write_text("two")
    assert access.credential().authorization == "Bearer two"


def test_a_password_in_the_servers_url_is_sent_and_never_shown(tmp_path: Path):
    path = write(tmp_path, config("http://me:s3cret@127.0.0.1:9", user={"username": ""}))
    access = load_access(path, context="", is_insecure=False)
    assert access.endpoint == "http://127.0.0.1:9"
    assert base64.b64decode(access.credential().authorization.removeprefix("Basic ")) == b"me:s3cret"
    assert "s3cret" not in repr(access.credential())


def test_an_unchecked_server_is_refused_unless_it_is_accepted_by_name(server: TlsServer, tmp_path: Path):
    path = write(tmp_path, config(server.url, cluster={"insecure-skip-tls-verify": True}))
    with pytest.raises(SettingsError, match="RATCHET_KUBERNETES_INSECURE=true"):
        ask(Settings(kubeconfig=path))
    ask(Settings(kubeconfig=path, kubernetes_insecure=True))


def test_the_name_that_a_certificate_must_have_can_be_said(ca: Pair, tmp_path: Path):
    with tls_server(issue("api", by=ca, host="kubernetes.default"), tmp_path) as server:
        named = {"certificate-authority-data": b64(ca.certificate_pem), "tls-server-name": "kubernetes.default"}
        ask(Settings(kubeconfig=write(tmp_path, config(server.url, cluster=named))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param("[", "line 1: the kubeconfig cannot be read", id="no-yaml"),
        pytest.param("- a", "an object with clusters", id="a-list"),
        pytest.param({"clusters": 1}, "`clusters` must be a list", id="clusters"),
        pytest.param({"users": [{"user": {}}]}, "needs `name`", id="nameless"),
        pytest.param(config("c:1"), "`server` must be https://host:port", id="server"),
        pytest.param(config("https://c", user={"auth-provider": {"name": "gcp"}}), "exec plugin", id="auth-provider"),
        pytest.param(config("https://c", user={"as": "root"}), "impersonation", id="impersonation"),
        pytest.param(config("https://c", user={"token": 7}), "`token` must be a string", id="number"),
        pytest.param(config("https://c", user={"client-key-data": "aGk="}), "needed together", id="key-alone"),
        pytest.param(config("https://c", cluster={"certificate-authority-data": "?"}), "base64", id="base64"),
        pytest.param(config("https://c", cluster={"certificate-authority": "no"}), "cannot be read", id="ca-gone"),
        pytest.param(config("https://c", user={"exec": {"apiVersion": "v1"}}), "apiVersion is 'v1'", id="exec-version"),
        pytest.param({"current-context": ""}, "no current-context", id="no-context"),
    ],
)
def test_what_is_wrong_in_a_kubeconfig_is_said_with_its_file(change: Any, words: str, tmp_path: Path):
    path = tmp_path / "config"
    path.write_text(change if isinstance(change, str) else yaml.safe_dump(change))
    with pytest.raises(SettingsError, match=words) as caught:
        load_access(str(path), context="", is_insecure=False)
    assert str(path) in str(caught.value)


def plugin(tmp_path: Path, script: str, now: Callable[[], datetime] = lambda: NOON, **spec: Any) -> ExecPlugin:
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\necho run >> '{tmp_path}/runs'\n{script}\n")
    path.chmod(0o700)
    version = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin"}
    return ExecPlugin({**version, **spec}, folder=tmp_path, where="user me", cluster={"server": "https://c"}, now=now)


def answer(**status: Any) -> str:
    version = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    return f"cat <<'EOF'\n{json.dumps({**version, 'status': status})}\nEOF"


def num_runs(tmp_path: Path) -> int:
    return len((tmp_path / "runs").read_text().splitlines())


def test_a_plugins_token_is_kept_until_it_expires_or_is_refused(tmp_path: Path):
    moments = [NOON]
    expires = (NOON + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = plugin(tmp_path, answer(token="abc", expirationTimestamp=expires), now=lambda: moments[0])
    assert asked().authorization == asked().authorization == "Bearer abc"
    assert num_runs(tmp_path) == 1
    moments[0] = NOON + timedelta(minutes=9, seconds=55)
    asked()
    assert num_runs(tmp_path) == 2, "a request under way must not outlive its token"
    moments[0] = NOON
    asked(is_refused=True)
    assert num_runs(tmp_path) == 3


def test_a_plugin_sees_the_shell_its_own_variables_and_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "prod")
    monkeypatch.setenv("RATCHET_S3_SECRET_KEY", "s3cret")
    shown = "$AWS_PROFILE.$1.$MORE.$RATCHET_S3_SECRET_KEY.$(echo $KUBERNETES_EXEC_INFO | grep -c https://c)"
    script = answer(token=shown).replace("'EOF'", "EOF")
    asked = plugin(tmp_path, script, args=["a1"], env=[{"name": "MORE", "value": "m"}], provideClusterInfo=True)
    assert asked().authorization == "Bearer prod.a1.m..1"


@pytest.mark.parametrize(
    ("script", "spec", "words"),
    [
        pytest.param("echo not logged in >&2; exit 3", {}, "ended with 3: not logged in", id="fails"),
        pytest.param("echo hi", {}, "printed no JSON", id="no-json"),
        pytest.param(answer(), {}, "neither a token nor a client certificate", id="empty"),
        pytest.param(answer(clientKeyData="k"), {}, "go together", id="half-a-certificate"),
        pytest.param(answer(token="secret", expirationTimestamp="soon"), {}, "RFC 3339", id="no-moment"),
        pytest.param(
            answer(token="secret"), {"apiVersion": "client.authentication.k8s.io/v1beta1"}, "asked for", id="version"
        ),
        pytest.param(
            "", {"command": "no-such-plugin", "installHint": "Get it at e.org."}, "Get it at e.org", id="gone"
        ),
        pytest.param("", {"interactiveMode": "Always"}, "no terminal", id="interactive"),
    ],
)
def test_a_plugin_that_fails_says_why_and_shows_no_secret(script: str, spec: Any, words: str, tmp_path: Path):
    with pytest.raises(SettingsError, match=words) as caught:
        plugin(tmp_path, script, **spec)()
    assert "user me" in str(caught.value) and "secret" not in str(caught.value)


def test_a_plugin_may_give_a_client_certificate_and_another_later(tmp_path: Path):
    ca = issue("cluster-ca")
    certificates = iter([issue("first", by=ca), issue("second", by=ca)])
    version = "client.authentication.k8s.io/v1beta1"

    def put() -> None:
        mine = next(certificates)
        status = {
            "clientCertificateData": mine.certificate_pem,
            "clientKeyData": mine.key_pem,
            "expirationTimestamp": datetime.fromtimestamp(time.time(), UTC).isoformat(),
        }
        document = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        (tmp_path / "answer").write_text(json.dumps(document))

    user = {"exec": {"apiVersion": version, "command": "cat", "args": [str(tmp_path / "answer")]}}
    with tls_server(issue("api", by=ca, host="127.0.0.1"), tmp_path, client_ca=ca) as server:
        cluster = {"certificate-authority-data": b64(ca.certificate_pem)}
        api = KubernetesApi.of(Settings(kubeconfig=write(tmp_path, config(server.url, cluster=cluster, user=user))))
        for name in ("first", "second"):
            put()
            api.request("GET", "/version")
            assert name in server.seen[-1]
