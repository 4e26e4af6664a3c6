"""What a Kubernetes API server's refusal means, in words that name the next step. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from ratchet.adapters.http import Peer, Response
from ratchet.adapters.http_errors import error_of_status, shown_url
from ratchet.core.errors import DataRejected, RatchetError, SettingsError, Unavailable

PEER = Peer(
    name="The Kubernetes API",
    next_step="Check that the control plane is up: `ratchet status`.",
    endpoint="RATCHET_KUBERNETES_ENDPOINT, or `server` in the kubeconfig,",
)
_MESSAGE_CHARS_MAX = 2000
"""A refused object is told with all its faults, and some servers with the object itself."""
_STRICT = re.compile(r"strict decoding error: (.*)", re.DOTALL)
_UNKNOWN = re.compile(r'unknown field \\?"([^"\\]+)\\?"')
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)


class UnknownField(DataRejected):
    """The server's definition (CRD) of the object lacks a field that we wrote: another version of it is installed."""

    def __init__(self, text: str, fields: tuple[str, ...]) -> None:
        super().__init__(text)
        self.fields = fields
        """Their paths, `spec.rules[0].filters[0].requestMirror.percent` for example."""


def error_of(response: Response, *, identity: str) -> RatchetError:
    """`identity`: what we showed the server, as it is named to a user."""
    message = str(status_of(response).get("message") or response.text[:300])
    where = f"{response.where}: {response.status}"
    if response.status == 403:
        return _forbidden(where, message, identity)
    if strict := _STRICT.search(message):
        fields = tuple(dict.fromkeys(_UNKNOWN.findall(strict[1])))
        text = f"{where}: the server does not know {', '.join(fields) or strict[1][:300]}"
        return UnknownField(f'{text}. docs/user-guide.md, "Serving on a cluster", lists the versions needed.', fields)
    if leads_to := response.headers.get("location", ""):
        message = f"it leads to {shown_url(leads_to)}"
    peer = PEER._replace(identity=identity)
    return error_of_status(response.status, message[:_MESSAGE_CHARS_MAX], where=response.where, peer=peer)


def _forbidden(where: str, message: str, identity: str) -> RatchetError:
    """403 is said of three things: a right that is missing, an admission webhook's no, a quota or a namespace's end."""
    found = _FORBIDDEN.search(message)
    if found is None:
        return DataRejected(f"{where}: {message}")
    group, resource, verb = found["group"], found["resource"], found["verb"]
    namespace = found["namespace"]
    kind = f"Role in namespace {namespace}" if namespace else "ClusterRole"
    rule = f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}'
    return SettingsError(
        f"{where}: {found['user'] or identity} may not {verb} {resource}. The {kind} lacks this rule: {rule}. "
        'docs/user-guide.md, "Serving on a cluster", lists all rules.'
    )


def object_in(response: Response) -> dict[str, Any]:
    """The answer's object. Unavailable when something in between answered, a login page say."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    raise Unavailable(f"{response.where}: the answer is no JSON object: {response.text[:80]!r}. Check the endpoint.")


def reason_of(response: Response) -> str:
    return str(status_of(response).get("reason", ""))


def status_of(response: Response) -> Mapping[str, Any]:
    """The Kubernetes `Status` of an error; empty when something in between answered, a proxy say."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
