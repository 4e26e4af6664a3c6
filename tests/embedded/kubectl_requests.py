"""The requests that kubectl sends for `apply` and `apply --server-side`, recorded from 1.27 and 1.33 (`-v=9`); those of
1.20 to 1.25 are the same but for the takeover, which 1.26 brought (kubectl pkg/cmd/apply/apply.go,
`migrateToSSAIfNecessary`), and for `fieldValidation`, which 1.25 brought."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.embedded.kubernetes_side import APPLY, JSON_PATCH, MERGE

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
CLIENT_SIDE, SERVER_SIDE = "kubectl-client-side-apply", "kubectl"
Object = dict[str, Any]


class Sent(NamedTuple):
    """One request; `body_of` makes its body of the configuration and of the live object."""

    method: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body_of: Callable[[Object, Object], Any]


def _with_last_applied(config: Object, live: Object) -> Object:
    text = json.dumps(config | {"metadata": {"annotations": {}, **config["metadata"]}}, separators=(",", ":")) + "\n"
    return {**config, "metadata": {**config["metadata"], "annotations": {ANNOTATION: text}}}


def _change(config: Object, live: Object) -> Object:
    """The three-way merge patch of these tests: their configurations only ever change values of the spec."""
    whole = _with_last_applied(config, live)
    return {"metadata": {"annotations": whole["metadata"]["annotations"]}, "spec": config["spec"]}


def _takeover(config: Object, live: Object) -> list[Object]:
    """client-go util/csaupgrade/upgrade.go (`UpgradeManagedFieldsPatch`): what was applied on the client's side becomes
    the server-side manager's."""
    entries = live["metadata"]["managedFields"]
    union: Object = {}
    for entry in entries:
        if entry["manager"] in (CLIENT_SIDE, SERVER_SIDE):
            union = _merged(union, entry["fieldsV1"])
    mine = {**entries[0], "manager": SERVER_SIDE, "operation": "Apply", "fieldsV1": union}
    others = [entry for entry in entries if entry["manager"] not in (CLIENT_SIDE, SERVER_SIDE)]
    version = live["metadata"]["resourceVersion"]
    return [
        {"op": "replace", "path": "/metadata/managedFields", "value": [mine, *others]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    ]


def _merged(one: Object, other: Object) -> Object:
    return {**one, **{key: _merged(one.get(key, {}), value) for key, value in other.items()}}


def _last_applied_only(config: Object, live: Object) -> Object:
    annotation = {ANNOTATION: live["metadata"]["annotations"][ANNOTATION]}
    kept = {"name": config["metadata"]["name"], "annotations": annotation}
    return {key: config[key] for key in ("apiVersion", "kind")} | {"metadata": kept}


STRICT = {"fieldValidation": "Strict"}
CREATE = Sent("POST", {"fieldManager": CLIENT_SIDE}, {}, _with_last_applied)
AGAIN = Sent("PATCH", {"fieldManager": CLIENT_SIDE}, MERGE, _change)
APPLIED = Sent("PATCH", {"fieldManager": SERVER_SIDE, "force": "false"}, APPLY, lambda config, live: config)
KEPT = Sent("PATCH", {"fieldManager": "kubectl-last-applied"}, APPLY, _last_applied_only)
TAKEN_OVER = Sent("PATCH", {"fieldManager": SERVER_SIDE}, JSON_PATCH, _takeover)
CLIENTS: Mapping[str, Mapping[str, tuple[Sent, ...]]] = {
    "1.20-1.25": {"create": (CREATE,), "apply": (AGAIN,), "server-side": (APPLIED,)},
    "1.26-1.34": {"create": (CREATE,), "apply": (AGAIN,), "server-side": (APPLIED, KEPT, TAKEN_OVER, APPLIED)},
}
