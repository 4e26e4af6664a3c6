"""The schemas here against the definitions that a cluster installs (CRD files: KServe, Gateway API, Kubeflow Trainer).

Without the files these tests are skipped: they are not ours to commit.
Each decision is compared with an independent reading of the definition: `jsonschema` over the whole of it.
"""

import copy
import random
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from embedded.control_plane.kubernetes.kinds import HTTP_ROUTES, INFERENCE_SERVICES, TRAIN_JOBS, ObjectKind
from embedded.control_plane.kubernetes.schema import schema_of
from embedded.control_plane.kubernetes.schema_words import FOREIGN, RULES
from embedded.control_plane.kubernetes.structure import prune, structure_errors, with_defaults
from tests.embedded.kubernetes_side import isvc, route
from tests.embedded.serving_world import PROJECT_DIR

FOLDER = PROJECT_DIR.parent / "shared" / "crds"
FILES = {
    INFERENCE_SERVICES.plural: "serving.kserve.io_inferenceservices.yaml",
    HTTP_ROUTES.plural: "gatewayapi_httproute.yaml",
    TRAIN_JOBS.plural: "trainer.kubeflow.org_trainjobs.yaml",
}
KINDS = [pytest.param(kind, id=kind.plural) for kind in (INFERENCE_SERVICES, HTTP_ROUTES, TRAIN_JOBS)]
COMPARED = (
    *("type", "format", "pattern", "enum", "default", "required", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
)
NUM_MUTANTS = 400
pytestmark = pytest.mark.skipif(
    not (FOLDER / FILES["httproutes"]).is_file(), reason=f"no CustomResourceDefinitions in {FOLDER}"
)


@cache
def definition_of(plural: str) -> dict[str, Any]:
    document = yaml.load((FOLDER / FILES[plural]).read_text(), Loader=yaml.CSafeLoader)
    return next(iter(document["spec"]["versions"]))["schema"]["openAPIV3Schema"]


def honoured(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each field that is honoured here, with its schema in both."""
    yield path, ours, theirs
    for name, below in ours.get("properties", {}).items():
        if below.get("description") != FOREIGN and not below.get("x-kubernetes-preserve-unknown-fields"):
            yield from honoured(below, theirs["properties"][name], f"{path}.{name}")
    if "items" in ours and ours["items"].get("type"):
        yield from honoured(ours["items"], theirs["items"], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_that_is_honoured_has_the_limits_of_the_definition_and_knows_the_same_names(kind: ObjectKind):
    ours = {"properties": {"spec": schema_of(kind)["properties"]["spec"]}}
    for path, here, there in honoured(ours, definition_of(kind.plural)):
        if path in ("", ".spec"):
            assert not path or set(here["properties"]) == set(there["properties"])
            continue
        assert {key: here.get(key) for key in COMPARED} == {key: there.get(key) for key in COMPARED}, path
        assert set(here.get("properties", {})) == set(there.get("properties", {})), path


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_of_a_field_that_is_honoured_stands_here_with_its_text(kind: ObjectKind):
    whole = schema_of(kind)
    ours = {"properties": {"spec": whole["properties"]["spec"]}, RULES: whole.get(RULES, ())}
    foreign = ("replacePrefixMatch",)  # of redirects and rewrites, which are refused whole
    for path, here, there in honoured(ours, definition_of(kind.plural)):
        wanted = {
            (each["rule"], each["message"])
            for each in there.get(RULES, ())
            if not any(word in each["message"] for word in foreign)
        }
        assert {(rule.text, rule.message) for rule in here.get(RULES, ())} == wanted, path


def plain(value: Any, schema: Mapping[str, Any]) -> Any:
    """An independent reading of pruning, nulls and defaults."""
    if isinstance(value, dict) and schema.get("type") == "object":
        known = schema.get("properties", {})
        keeps = schema.get("x-kubernetes-preserve-unknown-fields")
        extra = schema.get("additionalProperties")
        result = {}
        for key, inner in value.items():
            below = known.get(key, extra)
            if inner is None and not (below is None and keeps):
                continue
            if below is not None or keeps:
                result[key] = plain(inner, below or {})
        for key, below in known.items():
            if "default" in below and key not in result:
                result[key] = plain(copy.deepcopy(below["default"]), below)
        return result
    if isinstance(value, list):
        return [plain(item, schema.get("items", {})) for item in value]
    return value


def in_bounds(value: Any, schema: Mapping[str, Any]) -> bool:
    """What JSON Schema has no words for: formats of integers, identities in lists."""
    if isinstance(value, dict):
        below = schema.get("properties", {})
        return all(in_bounds(inner, below.get(key, {})) for key, inner in value.items())
    if isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys")
        if keys and all(isinstance(item, dict) for item in value):
            identities = [repr([item.get(key) for key in keys]) for item in value]
            if len(set(identities)) < len(identities):
                return False
        return all(in_bounds(item, schema.get("items", {})) for item in value)
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    return not bits or not isinstance(value, int | float) or -(2**bits) <= value < 2**bits


@cache
def validator_of(plural: str) -> Any:
    return jsonschema.Draft202012Validator(definition_of(plural)["properties"]["spec"])


def mutated(rng: random.Random, value: Any) -> Any:
    """The value with one thing changed somewhere."""
    value = copy.deepcopy(value)
    places = list(walk(value))
    if not places:
        return value
    holder, key = rng.choice(places)
    odd: list[Any] = [
        None,
        "",
        "x" * 300,
        "A b",
        "/a//b",
        "Exact",
        "abc",
        0,
        -1,
        1,
        80,
        70_000,
        2**31,
        2**63,
        1.0,
        1.5,
        True,
        [],
        {},
    ]
    choice = rng.randrange(5)
    if choice == 0 and isinstance(holder, dict):
        del holder[key]
    elif choice == 1 and isinstance(holder, dict):
        holder[rng.choice(["unknown", "name", "kind", "group", "weight", "port", "type", "value", "env", "args"])] = (
            rng.choice(odd)
        )
    elif choice == 2 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[key] = rng.choice(odd)
    return value


def walk(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from walk(value[key])


ENV = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
BACKENDS = [{"name": "a-predictor", "port": 80, "weight": 90}, {"name": "b-predictor", "port": 80, "weight": 10}]
MIRROR = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "c", "port": 80}, "percent": 50}}
MATCH = {"path": {"type": "Exact", "value": "/v1/models/m:predict"}}
SEEDS = {
    INFERENCE_SERVICES.plural: [
        isvc(canary=10, minReplicas=1, labels={"a": "b"})["spec"],
        {"predictor": {"model": {"modelFormat": {"name": "x", "version": "1"}, "env": ENV, "args": ["a"]}}},
        {"predictor": {"containers": [{"name": "c", "command": ["x"], "env": ENV, "ports": [{"containerPort": 1}]}]}},
    ],
    HTTP_ROUTES.plural: [
        route(backendRefs=BACKENDS, matches=[MATCH, {"path": {"value": "/b"}}])["spec"],
        route(backendRefs=BACKENDS[:1], filters=[MIRROR], name="x")["spec"],
    ],
    TRAIN_JOBS.plural: [
        {"runtimeRef": {"name": "torch-distributed"}, "suspend": True, "activeDeadlineSeconds": 60},
        {
            "runtimeRef": {"name": "r", "kind": "TrainingRuntime"},
            "trainer": {"command": ["x"], "args": ["a"], "env": ENV, "image": "i", "numNodes": 2, "numProcPerNode": 1},
        },
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_object_is_refused_here_if_and_only_if_its_definition_refuses_it(kind: ObjectKind):
    """Of fields that are honoured here. Seeded: the seed of a failing object is in the message."""
    ours, theirs = schema_of(kind)["properties"]["spec"], definition_of(kind.plural)["properties"]["spec"]
    decisions = set()
    for seed in range(NUM_MUTANTS):
        rng = random.Random(seed)
        spec = rng.choice(SEEDS[kind.plural])
        for _ in range(rng.randint(1, 3)):
            spec = mutated(rng, spec)
        spec = spec if isinstance(spec, dict) else {}
        whole = plain(spec, theirs)
        accepted_there = validator_of(kind.plural).is_valid(whole) and in_bounds(whole, theirs)
        mine = with_defaults(prune(spec, ours)[0], ours)
        errors = structure_errors(mine, ours, "spec")
        by_schema = [error for error in errors if not is_of_a_rule(error, kind)]
        assert (not by_schema) == accepted_there, f"seed {seed}: {spec} {list(map(str, errors))}"
        if accepted_there:
            assert mine == whole, f"seed {seed}: other defaults"
        decisions.add(accepted_there)
    assert decisions == {True, False}, "both kinds of objects came"


def is_of_a_rule(error: Any, kind: ObjectKind) -> bool:
    messages = [rule.message for _, schema, _ in honoured_rules(kind) for rule in schema.get(RULES, ())]
    was_unchecked = error.field == "<nil>" and "were not checked" in error.message
    return was_unchecked or any(error.message.endswith(message) for message in messages)


@cache
def honoured_rules(kind: ObjectKind) -> list[tuple[str, Any, Any]]:
    ours = {"properties": {"spec": schema_of(kind)["properties"]["spec"]}}
    return list(honoured(ours, definition_of(kind.plural)))
