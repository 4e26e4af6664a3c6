"""kubeconfig files, by the rules of kubectl: several are merged, the first that says something is believed.

What it cannot honour it refuses: an ignored field may mean another identity than the one that was meant.
"""

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import yaml

from ratchet.adapters.exec_credentials import ExecPlugin
from ratchet.adapters.kubernetes_credentials import Credential, Secret, basic, fixed, from_file
from ratchet.adapters.tls import Trust, certificates_in
from ratchet.core.errors import SettingsError

_REFUSED_OF_USER = {
    "auth-provider": "kubectl removed it in 1.26; use an exec plugin",
    "as": "impersonation is not supported; use a user of your own",
    "as-uid": "impersonation is not supported; use a user of your own",
    "as-groups": "impersonation is not supported; use a user of your own",
    "as-user-extra": "impersonation is not supported; use a user of your own",
}
_Object = Mapping[str, Any]


class Entry(NamedTuple):
    """One cluster, user or context, and the file that it stands in: relative paths begin in that file's folder."""

    kind: str
    name: str
    value: _Object
    path: Path

    @property
    def where(self) -> str:
        return f"{self.path}, {self.kind} {self.name}"

    def text(self, key: str) -> str:
        """ "" when it is absent. SettingsError when it is no text."""
        value = self.value.get(key)
        if value is not None and not isinstance(value, str):
            raise SettingsError(f"{self.where}: `{key}` must be a string, found {type(value).__name__}.")
        return value or ""

    def flag(self, key: str) -> bool:
        value = self.value.get(key, False)
        if not isinstance(value, bool):
            raise SettingsError(f"{self.where}: `{key}` must be true or false, found {value!r:.40}.")
        return value

    def file(self, key: str) -> Path:
        return self.path.parent / self.text(key)

    def pem(self, key: str) -> str:
        """Of `<key>-data`, which is base64, else of the file that `<key>` names; "" when there is neither."""
        if data := self.text(f"{key}-data"):
            try:
                return base64.b64decode(data, validate=True).decode("utf-8")
            except (binascii.Error, UnicodeDecodeError):
                raise SettingsError(f"{self.where}: `{key}-data` is not base64 of PEM text.") from None
        if not self.text(key):
            return ""
        try:
            return self.file(key).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.where}: `{key}` cannot be read: {error}.") from None


class ClusterAccess(NamedTuple):
    """What one context says: where the API server is, how it is known, and who asks it."""

    endpoint: str
    trust: Trust
    credential: Credential
    identity: str
    """The user, in words for errors."""
    proxy: str


def load_access(paths: str, *, context: str, is_insecure: bool) -> ClusterAccess:
    """Of one or more kubeconfig files (`:` between them). `context` "" = the current one.

    SettingsError says which file and which entry is wrong."""
    contexts, clusters, users, current = _merged(paths)
    wanted = context or current
    if not wanted:
        raise SettingsError(f"{paths}: there is no current-context. {_names_of(contexts)}")
    chosen = _named(contexts, wanted, paths, "context")
    cluster = _named(clusters, chosen.text("cluster"), paths, "cluster")
    user = _named(users, chosen.text("user"), paths, "user") if chosen.text("user") else None
    server, login = _server_of(cluster)
    ca = cluster.pem("certificate-authority")
    trust = _trust_of(cluster, ca, is_insecure=is_insecure)
    credential = _credential_of(user, ca, server, login) if user else fixed(Secret(authorization=login))
    identity = f"user {user.name} of {user.path}" if user else f"context {chosen.name} of {chosen.path}"
    return ClusterAccess(server, trust, credential, identity, cluster.text("proxy-url"))


def _merged(paths: str) -> tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry], str]:
    """Contexts, clusters and users by name, and the current context. Of two of one name the first file's counts."""
    found: dict[str, dict[str, Entry]] = {"context": {}, "cluster": {}, "user": {}}
    current, num_read = "", 0
    for path in [Path(each).expanduser() for each in paths.split(os.pathsep) if each]:
        if not path.exists():  # kubectl skips these too: KUBECONFIG often lists files for other days
            continue
        document = _read(path)
        num_read += 1
        current = current or Entry("kubeconfig", path.name, document, path).text("current-context")
        for kind, entries in found.items():
            for entry in _entries_of(document, kind, path):
                entries.setdefault(entry.name, entry)
    if not num_read:
        raise SettingsError(f"There is no kubeconfig at {paths}. Correct RATCHET_KUBECONFIG or KUBECONFIG.")
    return found["context"], found["cluster"], found["user"], current


def _read(path: Path) -> _Object:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        text = getattr(error, "problem", None) or (error if isinstance(error, OSError) else type(error).__name__)
        raise SettingsError(f"{path}{line}: the kubeconfig cannot be read: {text}.") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: a kubeconfig is an object with clusters, users and contexts.")
    return document


def _entries_of(document: _Object, kind: str, path: Path) -> Iterator[Entry]:
    entries = document.get(f"{kind}s") or []
    if not isinstance(entries, list):
        raise SettingsError(f"{path}: `{kind}s` must be a list.")
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        value = (entry.get(kind) or {}) if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(value, dict):
            raise SettingsError(f"{path}: every entry of `{kind}s` needs `name` (a string) and `{kind}` (an object).")
        yield Entry(kind, name, value, path)


def _named(entries: Mapping[str, Entry], name: str, paths: str, kind: str) -> Entry:
    if name not in entries:
        raise SettingsError(f"{paths}: there is no {kind} {name!r}. {_names_of(entries)}")
    return entries[name]


def _names_of(entries: Mapping[str, Entry]) -> str:
    return f"Known: {', '.join(entries) or 'none'}. RATCHET_KUBERNETES_CONTEXT selects a context."


def _server_of(cluster: Entry) -> tuple[str, str]:
    """The URL without user and password, and these as an Authorization header: errors show the URL."""
    parts = urlsplit(cluster.text("server"))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"{cluster.where}: `server` must be https://host:port.")
    login = basic(parts.username or "", parts.password or "") if parts.username or parts.password else ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), login


def _trust_of(cluster: Entry, ca: str, *, is_insecure: bool) -> Trust:
    is_checked = not cluster.flag("insecure-skip-tls-verify")
    if not is_checked and not is_insecure:
        raise SettingsError(
            f"{cluster.where}: `insecure-skip-tls-verify` lets anyone in between read the token. "
            "Name the CA in `certificate-authority`; or set RATCHET_KUBERNETES_INSECURE=true to accept it."
        )
    ca_pem = certificates_in(ca.encode())
    if ca and not ca_pem:
        raise SettingsError(f"{cluster.where}: `certificate-authority` holds no PEM certificate.")
    return Trust(
        ca_pem=ca_pem,
        source=f"certificate-authority of {cluster.where}" if ca_pem else "",
        next_step=f"Correct `certificate-authority` of {cluster.where}",
        server_name=cluster.text("tls-server-name"),
        is_checked=is_checked,
    )


def _credential_of(user: Entry, ca: str, server: str, login: str) -> Credential:
    for key, reason in _REFUSED_OF_USER.items():
        if user.value.get(key):
            raise SettingsError(f"{user.where}: `{key}` cannot be used: {reason}.")
    certificate, key = user.pem("client-certificate"), user.pem("client-key")
    if bool(certificate) != bool(key):
        raise SettingsError(f"{user.where}: `client-certificate` and `client-key` are needed together.")
    pem = f"{certificate}\n{key}" if certificate else ""
    if user.text("tokenFile"):
        return from_file(user.file("tokenFile"), where=user.where, certificate=pem)
    if user.text("token"):
        return fixed(Secret(authorization=f"Bearer {user.text('token')}", certificate=pem))
    if user.value.get("exec") and not certificate:
        if not isinstance(user.value["exec"], dict):
            raise SettingsError(f"{user.where}: `exec` must be an object.")
        shown = {"server": server, "certificate-authority-data": ca}
        return ExecPlugin(user.value["exec"], folder=user.path.parent, where=user.where, cluster=shown)
    if user.text("username"):
        login = basic(user.text("username"), user.text("password"))
    return fixed(Secret(authorization=login, certificate=pem))
