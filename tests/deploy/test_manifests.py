"""Every overlay, rendered without a cluster: valid where a cluster would look, and tight where it would not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ratchet import __version__
from tests.deploy.conftest import OVERLAYS, ROOT
from tests.deploy.manifests import (
    Object,
    dangling,
    images_of,
    loose_images,
    name_of,
    pod_templates,
    privileges,
    settings_by_accident,
    wide_rights,
    without_limits,
)

VERSIONS = ("1.34.0", "1.36.0")
CRDS = ROOT.parent / "shared" / "crds"
OF_OTHERS = {("external-secrets.io/v1", "ExternalSecret"), ("external-secrets.io/v1", "ClusterSecretStore")}
"""Kinds of operators whose definitions are in no package that can be had here."""
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.fixture
def objects(rendered: dict[str, list[Object]], overlay: str) -> list[Object]:
    return rendered[overlay]


@pytest.fixture(scope="module")
def distinct(rendered: dict[str, list[Object]]) -> list[Object]:
    """Those of all overlays, each once: reading a schema takes longer than anything else here."""
    return list({json.dumps(each): each for objects in rendered.values() for each in objects}.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(distinct: list[Object], version: str) -> None:
    for each in distinct:
        if not is_custom(each):
            kubernetes_validate.validate(dict(each), version, strict=True)


def test_custom_objects_are_as_their_definitions_say(distinct: list[Object]) -> None:
    if not CRDS.is_dir():
        pytest.skip(f"{CRDS} is not there")
    schemas = definitions()
    for each in distinct:
        key = (each["apiVersion"], each["kind"])
        if is_custom(each) and key not in OF_OTHERS:
            assert key in schemas, f"{name_of(each)}: unknown kind"
            jsonschema.validate(each, closed(schemas[key]))


@each_overlay
def test_every_kind_is_known(objects: list[Object], overlay: str) -> None:
    ours = {("serving.kserve.io/v1alpha1", "ServingRuntime")}
    custom = {(each["apiVersion"], each["kind"]) for each in objects if is_custom(each)}
    assert custom <= ours | OF_OTHERS


@each_overlay
def test_pods_meet_the_restricted_standard(objects: list[Object], overlay: str) -> None:
    pods = list(pod_templates(objects))
    assert {pod.owner for pod in pods} >= {
        "Deployment ratchet-sensor",
        "Deployment ratchet-guard",
        "ServingRuntime ratchet",
    }
    assert [words for pod in pods for words in privileges(pod)] == []
    assert [words for pod in pods for words in without_limits(pod)] == []
    assert [words for pod in pods for words in settings_by_accident(pod, objects)] == []


@each_overlay
def test_images_come_from_one_place(objects: list[Object], overlay: str) -> None:
    pods = list(pod_templates(objects))
    assert [words for pod in pods for words in loose_images(pod, version=__version__)] == []
    one_place = yaml.safe_load((ROOT / "deploy/components/images/kustomization.yaml").read_text())
    named = {image["name"] for image in one_place["images"]}
    assert {image.partition("@")[0].rpartition(":")[0] for pod in pods for image in images_of(pod)} <= named


@each_overlay
def test_names_lead_somewhere_and_rights_are_narrow(objects: list[Object], overlay: str) -> None:
    assert dangling(objects) == []
    assert wide_rights(objects) == []
    assert [name_of(each) for each in objects if each["kind"] == "Secret"] == [], "a secret in a manifest"


@each_overlay
def test_nothing_reaches_a_namespace_but_what_is_named(objects: list[Object], overlay: str) -> None:
    denied = {each["metadata"]["namespace"] for each in objects if is_default_deny(each)}
    assert denied == {each["metadata"]["name"] for each in objects if each["kind"] == "Namespace"}


def is_custom(each: Object) -> bool:
    """Kubernetes' own groups have no dot, or end in .k8s.io; the Gateway API's does too, and is none of them."""
    group = each["apiVersion"].rpartition("/")[0]
    return "." in group and not (group.endswith(".k8s.io") and group != "gateway.networking.k8s.io")


def is_default_deny(each: Object) -> bool:
    spec = each.get("spec", {})
    is_for_all = each["kind"] == "NetworkPolicy" and spec["podSelector"] == {}
    return is_for_all and "Ingress" in spec["policyTypes"] and not spec.get("ingress")


def definitions() -> dict[tuple[str, str], Mapping[str, Any]]:
    found = {}
    for path in Path(CRDS).glob("*.yaml"):
        for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            for version in (document or {}).get("spec", {}).get("versions", ()):
                key = (f"{document['spec']['group']}/{version['name']}", document["spec"]["names"]["kind"])
                found[key] = version["schema"]["openAPIV3Schema"]
    return found


def closed(schema: Any) -> Any:
    """The same schema, in which a field that it does not name is an error, as kubectl's strict validation has it."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    narrowed = {key: closed(value) for key, value in schema.items()}
    is_open = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(schema)
    is_metadata = schema.get("type") == "object" and "properties" not in schema
    if "properties" in schema and isinstance(schema["properties"], dict) and not is_open and not is_metadata:
        narrowed["additionalProperties"] = False
    return narrowed
