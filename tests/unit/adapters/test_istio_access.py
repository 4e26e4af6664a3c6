"""The gateway's policy as objects of Istio; against Istio's definitions, where they are on this machine."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ratchet.adapters.istio_access import IstioGateway, render_istio_access, unrendered_access
from ratchet.settings import Settings

DEFINITIONS = Path(__file__).parents[4] / "shared" / "crds" / "istio_access.yaml"
"""kubernetes/customresourcedefinitions.gen.yaml of istio/api."""
BY_NAME = IstioGateway("kserve", "kserve-ingress-gateway")
BY_LABEL = IstioGateway("istio-system", label=("istio", "ingressgateway"))
WITH_TOKENS = Settings(access_issuer="https://issuer.example.com", access_jwks="https://issuer.example.com/jwks.json")


def specs_of(settings: Settings, gateway: IstioGateway = BY_NAME) -> dict[str, dict[str, Any]]:
    objects = render_istio_access(settings, gateway)
    assert {each["metadata"]["namespace"] for each in objects} == {gateway.namespace}
    return {each["kind"]: each["spec"] for each in objects}


def test_a_gateway_without_an_issuer_limits_sizes_alone() -> None:
    specs = specs_of(Settings(access_request_bytes_max=1000))
    assert list(specs) == ["EnvoyFilter"]
    (patch,) = specs["EnvoyFilter"]["configPatches"]
    assert patch["patch"]["value"]["typed_config"]["max_request_bytes"] == 1000


def test_a_request_without_a_token_of_the_issuer_is_denied_but_for_readiness() -> None:
    policy = specs_of(WITH_TOKENS)["AuthorizationPolicy"]
    assert policy["action"] == "DENY"
    (rule,) = policy["rules"]
    assert rule["from"] == [{"source": {"notRequestPrincipals": ["https://issuer.example.com/*"]}}]
    # `/v1/models/{*}` would open `/v1/models/digits:predict`.
    assert rule["to"] == [{"operation": {"notPaths": ["/v2/models/{*}/ready"]}}]


def test_tokens_come_in_the_header_alone_and_go_no_further() -> None:
    (rule,) = specs_of(WITH_TOKENS)["RequestAuthentication"]["jwtRules"]
    assert rule["fromHeaders"] == [{"name": "Authorization", "prefix": "Bearer "}]
    assert (rule["issuer"], rule["audiences"]) == ("https://issuer.example.com", ["ratchet"])
    assert rule["forwardOriginalToken"] is False and rule["jwksUri"] == WITH_TOKENS.access_jwks


def test_keys_of_a_file_go_into_the_object(tmp_path: Path) -> None:
    path, keys = tmp_path / "keys.json", {"keys": [{"kty": "EC", "kid": "a"}]}
    path.write_text(json.dumps(keys, indent=4))
    (rule,) = specs_of(WITH_TOKENS.model_copy(update={"access_jwks": str(path)}))["RequestAuthentication"]["jwtRules"]
    assert json.loads(rule["jwks"]) == keys and "jwksUri" not in rule


def test_a_gateway_of_istios_own_kind_is_found_by_a_label() -> None:
    specs = specs_of(WITH_TOKENS, BY_LABEL)
    assert specs["AuthorizationPolicy"]["selector"] == {"matchLabels": {"istio": "ingressgateway"}}
    assert specs["EnvoyFilter"]["workloadSelector"] == {"labels": {"istio": "ingressgateway"}}
    assert not any("targetRefs" in spec for spec in specs.values())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({}, "", id="all-is-rendered"),
        pytest.param({"access_rate_per_s": 1}, "RATCHET_ACCESS_RATE_PER_S", id="rate"),
        pytest.param({"access_leeway_s": 5}, "RATCHET_ACCESS_LEEWAY_S", id="leeway"),
    ],
)
def test_what_istio_cannot_do_is_said(values: dict[str, Any], named: str) -> None:
    said = unrendered_access(WITH_TOKENS.model_copy(update=values))
    assert [sentence.partition(" ")[0] for sentence in said] == ([named] if named else [])


@pytest.mark.skipif(not DEFINITIONS.is_file(), reason=f"no definitions of Istio in {DEFINITIONS}")
@pytest.mark.parametrize("gateway", [BY_NAME, BY_LABEL])
def test_istio_takes_the_objects(gateway: IstioGateway) -> None:
    documents = yaml.load_all(DEFINITIONS.read_text(), Loader=yaml.CSafeLoader)
    definitions = {
        (f"{each['spec']['group']}/{version['name']}", each["spec"]["names"]["kind"]): version["schema"]
        for each in documents
        if each
        for version in each["spec"]["versions"]
    }
    for each in render_istio_access(WITH_TOKENS, gateway):
        schema = definitions[each["apiVersion"], each["kind"]]["openAPIV3Schema"]
        jsonschema.validate(each["spec"], {**schema["properties"]["spec"], "additionalProperties": False})
