"""Credentials from a program: `exec` of a kubeconfig's user, client.authentication.k8s.io/v1 and v1beta1.

Cloud providers' clusters are entered this way. What the program prints is kept until it expires or is refused.
"""

import base64
import json
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ratchet.adapters.kubernetes_credentials import Secret
from ratchet.core.errors import SettingsError
from ratchet.settings import plugin_env

_GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")
_TIMEOUT_S = 60.0
"""Plugins ask their provider, which takes seconds; one that waits for a person would wait without an end."""
_EARLY = timedelta(seconds=10)
"""A request under way must not outlive its token."""
Clock = Callable[[], datetime]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ExecPlugin:
    """Implements Credential."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        *,
        folder: Path,
        where: str,
        cluster: Mapping[str, str],
        now: Clock = _utc_now,
    ) -> None:
        """`folder`: where relative commands begin. `cluster`: server and CA, for programs that ask for them."""
        self._where, self._now, self._folder = where, now, folder
        self._spec, self._cluster = spec, cluster
        self._version = spec.get("apiVersion")
        if self._version not in _VERSIONS:
            raise SettingsError(f"{where}: exec's apiVersion is {self._version!r}; known: {', '.join(_VERSIONS)}.")
        if not isinstance(spec.get("command"), str) or not spec["command"]:
            raise SettingsError(f"{where}: exec needs `command`.")
        if spec.get("interactiveMode") == "Always":
            raise SettingsError(
                f"{where}: exec's interactiveMode is Always, but there is no terminal. Use IfAvailable."
            )
        if not _is_list_of(spec.get("args"), str) or not _is_list_of(spec.get("env"), dict):
            raise SettingsError(f"{where}: exec's `args` is a list of strings, `env` a list of name and value.")
        self._secret: Secret | None = None
        self._expires_at: datetime | None = None

    def __call__(self, *, is_refused: bool = False) -> Secret:
        is_over = self._expires_at is not None and self._now() + _EARLY >= self._expires_at
        if self._secret is None or is_refused or is_over:
            self._secret, self._expires_at = self._parse(self._run())
        return self._secret

    def _run(self) -> str:
        command, args = self._spec["command"], self._spec.get("args") or []
        program = str(self._folder / command) if "/" in command else command
        try:
            run = subprocess.run(
                [program, *args],
                env=plugin_env(self._env()),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError:
            hint = str(self._spec.get("installHint") or "").strip()
            told = f" {hint}" if hint else ""
            raise SettingsError(f"{self._where}: exec's command {command} is not installed.{told}") from None
        except subprocess.TimeoutExpired:
            raise SettingsError(f"{self._where}: exec's command {command} took longer than {_TIMEOUT_S:g} s.") from None
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self._where}: exec's command {command} cannot be run: {error}.") from None
        if run.returncode:
            said = run.stderr.strip()[-300:] or "it printed nothing"
            raise SettingsError(f"{self._where}: exec's command {command} ended with {run.returncode}: {said}")
        return run.stdout

    def _env(self) -> dict[str, str]:
        told: dict[str, Any] = {"interactive": False}
        if self._spec.get("provideClusterInfo"):
            told["cluster"] = {key: value for key, value in self._cluster.items() if key == "server"}
            if ca := self._cluster.get("certificate-authority-data"):
                told["cluster"]["certificate-authority-data"] = base64.b64encode(ca.encode()).decode()
        asked = {"apiVersion": self._version, "kind": "ExecCredential", "spec": told}
        entries = self._spec.get("env") or []
        named = {str(each.get("name")): str(each.get("value", "")) for each in entries}
        return {**named, "KUBERNETES_EXEC_INFO": json.dumps(asked)}

    def _parse(self, printed: str) -> tuple[Secret, datetime | None]:
        """What it printed is a secret: errors do not show it."""
        where = f"{self._where}: exec's command {self._spec['command']}"
        try:
            answer = json.loads(printed)
        except ValueError:
            raise SettingsError(f"{where} printed no JSON; an ExecCredential is expected.") from None
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict) or answer.get("kind") != "ExecCredential":
            raise SettingsError(f"{where} printed no ExecCredential with a status.")
        if answer.get("apiVersion") != self._version:
            raise SettingsError(f"{where} answered in {answer.get('apiVersion')}; asked for {self._version}.")
        token = status.get("token") or ""
        certificate, key = status.get("clientCertificateData") or "", status.get("clientKeyData") or ""
        if not all(isinstance(each, str) for each in (token, certificate, key)) or bool(certificate) != bool(key):
            raise SettingsError(
                f"{where}: token, clientCertificateData and clientKeyData must be text; the last two go together."
            )
        if not token and not certificate:
            raise SettingsError(f"{where} gave neither a token nor a client certificate.")
        pem = f"{certificate}\n{key}" if certificate else ""
        secret = Secret(authorization=f"Bearer {token}" if token else "", certificate=pem)
        return secret, _moment_of(status.get("expirationTimestamp"), where)


def _moment_of(value: Any, where: str) -> datetime | None:
    if value in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{where}: expirationTimestamp is {value!r:.60}; RFC 3339 is expected.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_list_of(value: Any, kind: type) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, kind) for each in value))
